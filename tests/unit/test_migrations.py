"""The numbers of the migrations, and the columns of the last one."""

import re
from pathlib import Path

SQL = Path(__file__).parents[2] / "sql"
MIGRATIONS = sorted(path.name for path in (SQL / "migrations").iterdir())


def test_migrations_are_numbered_without_a_gap():
    matches = [re.fullmatch(r"(\d{4})_[a-z_]+\.sql", name) for name in MIGRATIONS]
    assert all(matches), MIGRATIONS
    assert [int(match[1]) for match in matches if match] == list(range(1, len(MIGRATIONS) + 1))


def test_the_schema_to_read_has_every_added_column():
    written = (SQL / "schema.sql").read_text()
    for name in MIGRATIONS:
        for table, column in re.findall(
            r"^ALTER TABLE (\w+) ADD COLUMN (?:IF NOT EXISTS )?(\w+)",
            (SQL / "migrations" / name).read_text(),
            re.MULTILINE,
        ):
            made = written.partition(f"CREATE TABLE public.{table} (")[2].partition(");")[0]
            assert f"\n    {column} " in made, f"{table}.{column}: run `make schema`"
