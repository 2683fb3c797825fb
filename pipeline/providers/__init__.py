"""Calls to providers of models with an OpenAI-compatible API, within their limits and the day's budget."""
