"""What queries compute beside SQL; the SQL itself is tried against the running fleet."""

import pytest
from sqlalchemy import create_engine

from pipeline.errors import Unavailable
from tests.unit.viz_service.fakes import NO_PAIRS, PAIRS, FakeQueries
from viz_service import queries
from viz_service.queries import PostgresQueries, Queries


def test_the_fake_has_the_interface() -> None:
    rows: Queries = FakeQueries()
    for name in ("check", "statistics", "timeseries", "histogram", "improvement", "top"):
        assert callable(getattr(rows, name))
        assert callable(getattr(PostgresQueries, name))


def test_regeneration_has_interval_and_relative_gain() -> None:
    made = queries.regeneration(PAIRS)
    assert made.relative_gain_percent == pytest.approx(25)
    assert made.gain_interval is not None
    assert made.gain_interval.low < 0.1 < made.gain_interval.high


def test_no_pairs_make_nulls() -> None:
    made = queries.regeneration(NO_PAIRS)
    assert (made.count, made.mean_gain, made.gain_interval, made.relative_gain_percent) == (0, None, None, None)


@pytest.mark.parametrize("first", [0, -0.1])
def test_no_ratio_to_a_score_of_zero_or_less(first: float) -> None:
    assert queries.regeneration(PAIRS | {"mean_first_score": first}).relative_gain_percent is None


def test_an_absent_database_is_unavailable() -> None:
    absent = create_engine(
        "postgresql+psycopg2://user:password@127.0.0.1:1/yahoo_db", connect_args={"connect_timeout": 1}
    )
    rows = PostgresQueries(absent, 0.48)
    for call in (rows.check, rows.statistics, rows.histogram, rows.improvement, lambda: rows.top(1)):
        with pytest.raises(Unavailable):
            call()
