from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.drills.ledger import Account
from tests.drills.report import COLUMNS, About, Result, explain, markdown, table

FINE = Result(
    "kill-kafka",
    Account(200, 190, 10, extra_calls={("a", 1): 2}),
    allowed=2,
    recovered_seconds=12.4,
    p95_seconds=7.6,
    played_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
)
ABOUT = About(10, 20, 1, 2, 8 * 2**30)


def test_the_document_has_the_results_and_the_conditions():
    text = markdown([FINE], ABOUT)
    assert "asks 10 questions/s for 20 s, seed 1, on a machine with 2 cores and 8.0 GiB" in text
    assert "| kill-kafka | 200 | 190 | 10 | 0 | 0 | 0 | 0 | 0 | 2 | 2 | 8 | 12 | 2026-01-02 03:04 |" in text
    assert "Broken" not in text
    assert FINE.passed


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (replace(FINE, allowed=1), "2 extra calls where 1 are allowed"),
        (replace(FINE, recovered_seconds=None), "not quiet"),
        (replace(FINE, problems=["it still runs"]), "it still runs"),
        *(
            (replace(FINE, account=replace(FINE.account, **{name: list("abcdefg")})), "a, b, c, d, e …")
            for name in ("lost", "doubled", "over_limit", "unexpected", "wrong_answer")
        ),
    ],
)
def test_a_broken_drill_is_explained_in_the_document(broken, expected):
    assert not broken.passed
    assert any(expected in line for line in explain(broken))
    assert expected in markdown([FINE, broken], ABOUT)


def test_the_table_has_a_row_for_each_drill():
    shown = table([FINE, FINE])
    assert (shown.row_count, len(shown.columns)) == (2, len(COLUMNS))
    assert len(FINE.cells()) == len(COLUMNS)


def test_the_report_of_a_soak_lists_its_faults_and_the_memory():
    memory = [{"kafka": 400.4, "redis": 9}, {"kafka": 500}, {"kafka": 450}, {"kafka": 410}, {"kafka": 420, "redis": 8}]
    text = markdown([replace(FINE, strikes=("redis-away", "kill-kafka", "redis-away"), memory=memory)], ABOUT)
    assert "in this order: redis-away, kill-kafka, redis-away." in text
    assert "2 different ones, at most 2 times each." in text
    assert "| kafka | 400 | 500 | 450 | 420 |" in text
    assert "| redis | 9 | 9 | 8 | 8 |" in text


ORDER = ["kill-kafka", "redis-away", "replay-all"]
BROKEN = replace(FINE, fault="replay-all", problems=["it still runs"])


def rows(document):
    return [line.split(" |")[0] for line in document.splitlines() if line.startswith("| ")][2:]


def test_drills_that_are_not_played_again_stay_in_the_ledger_in_their_order():
    before = markdown([BROKEN, replace(FINE, fault="redis-away")], ABOUT, order=ORDER)
    again = markdown([FINE, replace(FINE, fault="redis-away", allowed=9)], ABOUT, before, ORDER)
    assert rows(again) == ["| kill-kafka", "| redis-away", "| replay-all"]
    assert "| 2 | 9 | 8 |" in again
    assert again.count("- replay-all: it still runs") == 1
    assert markdown([FINE], ABOUT, again, ORDER) == again


def test_a_drill_that_passes_again_is_no_longer_a_broken_promise():
    before = markdown([BROKEN], ABOUT, order=ORDER)
    assert "Broken promises" not in markdown([replace(BROKEN, problems=[])], ABOUT, before, ORDER)


def test_drills_of_other_conditions_are_dropped():
    before = markdown([BROKEN], ABOUT, order=ORDER)
    assert rows(markdown([FINE], replace(ABOUT, seed=2), before, ORDER)) == ["| kill-kafka"]


def test_a_drill_that_no_longer_exists_is_dropped():
    before = markdown([replace(FINE, fault="old")], ABOUT, order=["old"])
    assert rows(markdown([FINE], ABOUT, before, ORDER)) == ["| kill-kafka"]
