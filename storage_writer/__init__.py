"""Writes the outcome of each question, an answer or a failure, to PostgreSQL and the cache."""
