"""Access to PostgreSQL: one connection pool for each process, and one error when the database is unavailable."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from pipeline.errors import Unavailable
from pipeline.settings import PostgresSettings

FINAL_CHANNEL = "question_final"
"""Channel on which storage-writer sends the id of each question that is completed or failed."""
POOL_SIZE = 8
"""Connections of a process; a statement that finds none waits."""
_UNDEFINED_TABLE = "42P01"


def dsn(settings: PostgresSettings) -> URL:
    """Returns the address of the database with its password."""
    return URL.create(
        "postgresql+psycopg2",
        settings.postgres_user,
        settings.postgres_password.get_secret_value(),
        settings.postgres_host,
        settings.postgres_port,
        settings.postgres_db,
    )


def engine(settings: PostgresSettings, name: str) -> Engine:
    """Makes a pool that checks each connection before use; it does not connect yet.

    Args:
        settings: Address of the database.
        name: Name of the connections in `pg_stat_activity`.
    """
    return create_engine(
        dsn(settings),
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args={
            "application_name": name,
            "connect_timeout": 3,
            "options": "-c statement_timeout=10000",
            # They also detect within seconds that the host or the network is down, which closes no connection.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
        },
    )


@contextmanager
def transaction(pool: Engine) -> Iterator[Connection]:
    """Provides a connection for one transaction.

    Raises:
        Unavailable: The database is unavailable, has no tables yet, or no connection became free in time.
    """
    try:
        with pool.begin() as connection:
            yield connection
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        raise Unavailable(f"PostgreSQL: {_short(error)}") from error
    except DBAPIError as error:
        empty = isinstance(error, ProgrammingError) and getattr(error.orig, "pgcode", None) == _UNDEFINED_TABLE
        if error.connection_invalidated or empty:
            raise Unavailable(f"PostgreSQL: {_short(error)}") from error
        raise


def _short(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
