"""The fleet's job as one would write it with Celery, Redis, Flask and PostgreSQL."""
