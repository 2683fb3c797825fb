"""Databases on the fleet's PostgreSQL: the fleet's own, and one for each baseline."""

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def separate_database(name: str) -> Iterator[Database]:
    """Creates an empty database with the fleet's tables on the fleet's server, and drops it at the end."""
    _on_server(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    _on_server(f"CREATE DATABASE {name}")
    database = Database(name)
    try:
        for file in sorted(Path("sql/migrations").glob("*.sql")):
            database.rows(file.read_text())
        yield database
    finally:
        database.close()
        _on_server(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")  # even if clients are connected to it


def address(name: str) -> str:
    """Returns the address of a database of the fleet's server, for SQLAlchemy."""
    password = PostgresSettings().postgres_password.get_secret_value()
    return f"postgresql+psycopg2://user:{password}@postgres/{name}"


def _on_server(statement: str) -> None:
    server = Database()
    try:
        server.rows(statement)
    finally:
        server.close()
