"""The embedded language model: an OpenAI-compatible server that runs llama.cpp in its own process."""
