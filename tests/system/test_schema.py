"""`sql/migrate` on separate databases of the fleet's server: new, old, changed and newer than the release."""

import re
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from tests.fleet import Fleet

FIRST_SCHEMA = Path(__file__).parent / "data" / "first_schema.sql"
SCHEMA = Path(__file__).parents[2] / "sql" / "schema.sql"
CURRENT = "SELECT name FROM schema_versions ORDER BY name"


class Database:
    """A separate database on which `migrate` can run."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.name = f"schema_{uuid.uuid4().hex[:12]}"
        fleet.exec("postgres", "createdb", "-U", "user", self.name)

    def migrate(self, status: int = 0, user: str = "user", password: str = "password") -> str:
        """Runs the one-shot postgres-init on this database, as at a start, and returns its output."""
        image = self._fleet.containers("postgres-init", everything=True)[0].attrs["Config"]["Image"]
        container = self._fleet.docker.containers.create(
            image,
            network_mode=f"container:{self._fleet.container('postgres').id}",
            environment={
                "PGHOST": "127.0.0.1",
                "PGUSER": user,
                "PGDATABASE": self.name,
                "POSTGRES_PASSWORD": password,
                "POSTGRES_READER_PASSWORD": "reader",
            },
        )
        try:
            container.start()
            ended = container.wait(timeout=120)["StatusCode"]
            output: str = container.logs().decode()
        finally:
            container.remove(force=True)
        assert ended == status, output
        return output

    def connect(self, user: str = "user", password: str = "password") -> psycopg2.extensions.connection:
        connection = psycopg2.connect(host="postgres", dbname=self.name, user=user, password=password)
        connection.autocommit = True
        return connection

    def sql(self, statement: str) -> list[tuple]:
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def drop(self) -> None:
        self._fleet.exec("postgres", "dropdb", "-U", "user", "--force", self.name)


@pytest.fixture
def database(fleet: Fleet) -> Iterator[Database]:
    database = Database(fleet)
    yield database
    database.drop()


def schema(fleet: Fleet, database: str) -> str:
    """Returns the schema as `make schema` writes it."""
    dump = fleet.exec(
        "postgres", "pg_dump", "-U", "user", "-d", database, "--schema-only", "--no-owner", "--no-privileges"
    )
    lines = [line for line in dump.splitlines() if not re.match(r"--|SET |SELECT pg_catalog|\\(un)?restrict", line)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def test_the_schema_file_equals_the_schema_of_a_new_database(fleet, database):
    database.migrate()
    written = SCHEMA.read_text().partition("\n\n")[2].strip()
    assert written == schema(fleet, database.name), "run `make schema`"


def test_a_database_older_than_the_migrations_is_upgraded_and_keeps_its_rows(fleet, database):
    database.sql(FIRST_SCHEMA.read_text())
    database.migrate()
    new = Database(fleet)
    try:
        new.migrate()
        columns = (
            "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
            "WHERE table_schema = 'public' ORDER BY 1, 2"
        )
        assert database.sql(columns) == new.sql(columns)
        assert database.sql(CURRENT) == new.sql(CURRENT)
    finally:
        new.drop()
    assert database.sql("SELECT question_id, status FROM questions ORDER BY 1") == [
        ("a", "completed"),
        ("b", "failed"),
        ("c", "pending"),
    ]
    assert database.sql("SELECT answers, quality FROM score_summary") == [(1, "accepted")]


def test_a_second_start_applies_nothing_and_is_not_blocked_by_readers(database):
    database.migrate()
    before = database.sql("SELECT * FROM schema_versions ORDER BY name")
    with closing(database.connect()) as reader, reader.cursor() as cursor:
        reader.autocommit = False
        for table in ("questions", "responses", "attempts", "call_errors", "failed_questions", "score_summary"):
            cursor.execute(f"SELECT count(*) FROM {table}")
        output = database.migrate()
        reader.rollback()
    assert "applying" not in output
    assert database.sql("SELECT * FROM schema_versions ORDER BY name") == before


def test_a_view_can_change_its_columns(database):
    database.migrate()
    database.sql(
        "DROP VIEW score_summary; CREATE VIEW score_summary AS SELECT 'old' AS another_column;"
        "UPDATE schema_versions SET checksum = 'of an older file' WHERE name = 'views'"
    )
    assert "applying views" in database.migrate()
    assert database.sql("SELECT answers FROM score_summary") == []
    with closing(database.connect("reader", "reader")) as reader, reader.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM score_summary")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("INSERT INTO schema_versions VALUES ('9999_later', '')", "9999_later, which is unknown to this release"),
        ("UPDATE schema_versions SET checksum = 'x' WHERE name LIKE '0001%'", "was changed after it was applied"),
    ],
)
def test_an_unknown_or_changed_migration_is_an_error(database, change, message):
    database.migrate()
    database.sql(change)
    assert message in database.migrate(status=1)


def test_a_migration_blocked_by_a_lock_times_out_and_changes_nothing(database):
    database.sql(FIRST_SCHEMA.read_text())
    with closing(database.connect()) as reader, reader.cursor() as cursor:
        reader.autocommit = False
        cursor.execute("SELECT count(*) FROM call_errors")
        assert "lock timeout" in database.migrate(status=3)
    assert database.sql(CURRENT) == []
    database.migrate()


def test_the_password_of_the_role_is_set_from_the_environment(fleet, database):
    role = database.name
    database.sql(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'first'")
    try:
        database.migrate(user=role, password="it's new")
        database.connect(role, "it's new").close()
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            database.connect(role, "first")
    finally:
        database.sql(f"REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}")
