"""The fleet's job with Celery, Redis, Flask and PostgreSQL."""
