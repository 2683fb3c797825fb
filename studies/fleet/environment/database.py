"""Databases on the fleet's PostgreSQL: the fleet's own, and one for each baseline."""

from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

from pipeline.settings import PostgresSettings


class Database:
    """A connection that reads what the fleet or the baseline writes."""

    def __init__(self, name: str | None = None) -> None:
        """Opens the connection.

        Args:
            name: Name of the database; None: the fleet's.
        """
        self._connection = connect(name)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Runs a statement and returns its rows."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def connect(name: str | None = None) -> psycopg2.extensions.connection:
    """Opens a connection to a database of the fleet's server (None: to the fleet's own), in autocommit mode."""
    settings = PostgresSettings()
    connection = psycopg2.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        dbname=name or settings.postgres_db,
        user=settings.postgres_user,
        password=settings.postgres_password.get_secret_value(),
        connect_timeout=5,
    )
    connection.autocommit = True
    return connection


def create_database(name: str) -> Database:
    """Creates an empty database with the fleet's tables on the fleet's server, and connects to it."""
    drop_database(name)
    server = Database()
    try:
        server.rows(f"CREATE DATABASE {name}")
    finally:
        server.close()
    made = Database(name)
    for file in sorted(Path("sql/migrations").glob("*.sql")):
        made.rows(file.read_text())
    return made


def drop_database(name: str) -> None:
    """Drops a database if it exists, even if clients are connected to it."""
    server = Database()
    try:
        server.rows(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        server.close()
