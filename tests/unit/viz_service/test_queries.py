"""Computations of the queries outside SQL; the system tests run the SQL itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import create_engine

from pipeline.errors import Unavailable
from tests.unit.viz_service.fakes import NO_PAIRS, PAIRS, FakeQueries
from viz_service import queries
from viz_service.queries import PostgresQueries, Queries
from viz_service.schemas import DeadLettersQuery, Filter


def test_the_fake_has_the_methods_of_the_interface() -> None:
    rows: Queries = FakeQueries()
    for name in (each for each in vars(Queries) if not each.startswith("_")):
        assert callable(getattr(rows, name))
        assert callable(getattr(PostgresQueries, name))


def test_regeneration_has_an_interval_and_a_relative_gain() -> None:
    made = queries.regeneration(PAIRS)
    assert made.relative_gain_percent == pytest.approx(25)
    assert made.gain_interval is not None
    assert made.gain_interval.low < 0.1 < made.gain_interval.high


def test_regeneration_without_pairs_has_nulls() -> None:
    made = queries.regeneration(NO_PAIRS)
    assert (made.count, made.mean_gain, made.gain_interval, made.relative_gain_percent) == (0, None, None, None)


@pytest.mark.parametrize("first", [0, -0.1])
def test_there_is_no_relative_gain_over_a_score_of_zero_or_less(first: float) -> None:
    assert queries.regeneration(PAIRS | {"mean_first_score": first}).relative_gain_percent is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (b"", ""),
        (memoryview(b"{not json <b>x</b>"), "{not json <b>x</b>"),
        (b"\xff\x00{", "\ufffd\x00{"),
        # The database cut within a character, which is left out.
        (("a" + "\U0001f600" * 500).encode()[: queries.PREVIEW_BYTES], "a" + "\U0001f600" * 499),
    ],
)
def test_the_preview_of_a_message_is_text(value: bytes | memoryview | None, text: str | None) -> None:
    assert queries.preview(value) == text


def test_an_unreachable_database_raises_unavailable() -> None:
    unreachable = create_engine(
        "postgresql+psycopg2://user:password@127.0.0.1:1/yahoo_db", connect_args={"connect_timeout": 1}
    )
    rows = PostgresQueries(unreachable, 0.48, 3)
    for call in (
        rows.check,
        rows.statistics,
        rows.histogram,
        rows.improvement,
        lambda: rows.top(1),
        rows.recent,
        lambda: rows.dead_letters(DeadLettersQuery()),
    ):
        with pytest.raises(Unavailable):
            call()


def group(passed_at: int | None, made: int, questions: int, score: str) -> dict[str, object]:
    return {
        "passed_at": passed_at,
        "unknown": passed_at is None and made < 3,
        "made": made,
        "questions": questions,
        "scores": Decimal(score) * questions,
    }


def test_what_if_counts_calls_of_passed_and_exhausted_questions() -> None:
    found = queries.what_if(0.5, 3, [group(1, 1, 6, "0.6"), group(2, 3, 2, "0.55"), group(None, 3, 2, "0.4")])
    assert (found.questions, found.passed, found.exhausted, found.unknown) == (10, [6, 2, 0], 2, 0)
    assert found.calls_min == found.calls_max == 6 * 1 + 2 * 2 + 2 * 3
    assert found.mean_score == pytest.approx((6 * 0.6 + 2 * 0.55 + 2 * 0.4) / 10)


def test_what_if_gives_a_range_of_calls_for_unknown_attempts() -> None:
    """A question accepted at attempt 1 would need one or two more attempts at the higher threshold."""
    found = queries.what_if(0.9, 3, [group(None, 1, 4, "0.6"), group(None, 2, 1, "0.5")])
    assert (found.unknown, found.exhausted, found.passed) == (5, 0, [0, 0, 0])
    assert (found.calls_min, found.calls_max) == (4 * 2 + 3, 4 * 3 + 3)


def test_what_if_without_questions_has_no_score() -> None:
    found = queries.what_if(0.5, 3, [])
    assert (found.questions, found.mean_score, found.calls_max) == (0, None, 0)


def test_wildcards_in_a_search_are_escaped() -> None:
    assert queries._parameters(Filter(text=r" 100%_\ "))["pattern"] == r"%100\%\_\\%"


def test_every_field_of_the_filter_reaches_the_sql() -> None:
    parameters = set(queries._parameters(Filter()))
    assert (
        parameters
        == set(queries.COUNT_MATCHING._bindparams) - {"most"}
        == set(queries.EXPORTED_IDS["newest"]._bindparams)
    )
    for statement in queries.LISTED.values():
        assert parameters <= set(statement._bindparams)
    assert parameters - {"pattern"} == set(Filter.model_fields) - {"sort"}


@pytest.mark.parametrize(
    "name",
    [
        *("SCORE_AT", "TIME_SPAN", "SCORE_BINS", "BEST", "WORST"),
    ],
)
def test_scores_on_two_scales_are_never_mixed(name: str) -> None:
    assert queries._REFERENCE in getattr(queries, name).text


class FakeResult:
    """Fake result with rows of one column or of several."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def scalars(self) -> list[Any]:
        return self._rows

    def mappings(self) -> list[Any]:
        return self._rows


class FakeConnection:
    """Fake connection that answers an export; `in_use` is the number of connections in use."""

    in_use = 0

    def __init__(self, ids: list[str]) -> None:
        self._ids = ids
        self.batch_sizes: list[int] = []

    def execution_options(self, **_options: Any) -> "FakeConnection":
        return self

    def execute(self, statement: Any, parameters: Any = None) -> FakeResult:
        if statement is queries.EXPORTED:
            self.batch_sizes.append(len(parameters["ids"]))
            return FakeResult([{"question_id": each} for each in parameters["ids"]])
        return FakeResult(self._ids)


def exporting(ids: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[PostgresQueries, FakeConnection]:
    connection = FakeConnection(ids)

    @contextmanager
    def transaction(_pool: Any) -> Iterator[FakeConnection]:
        connection.in_use += 1
        yield connection
        connection.in_use -= 1

    monkeypatch.setattr(queries.postgres, "transaction", transaction)
    return PostgresQueries(None, 0.48, 3), connection  # type: ignore[arg-type]


def test_an_export_holds_no_connection_while_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"{number:032x}" for number in range(2 * queries.EXPORTED_AT_ONCE + 1)]
    rows, connection = exporting(ids, monkeypatch)
    exported = []
    for row in rows.export(Filter()):
        assert connection.in_use == 0
        exported.append(row["question_id"])
    assert exported == ids
    assert connection.batch_sizes == [queries.EXPORTED_AT_ONCE, queries.EXPORTED_AT_ONCE, 1]


def test_an_export_that_is_too_large_is_rejected_before_its_first_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MAX_EXPORTED", 2)
    rows, _ = exporting([f"{number:032x}" for number in range(3)], monkeypatch)
    with pytest.raises(queries.TooManyQuestions):
        next(iter(rows.export(Filter())))
