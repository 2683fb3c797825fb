"""Keeps what came of each question: answers and failures, in PostgreSQL and in the cache."""
