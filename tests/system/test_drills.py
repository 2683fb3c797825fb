"""A short form of `make drill`: a fault under load causes no loss, no duplicate and no extra retry."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.drills.drill import ENVIRONMENT, Drills, Options, strikes_of
from tests.drills.faults import ALL, Stage
from tests.drills.report import explain
from tests.fleet import Fleet
from tests.scripted_provider import ScriptedProvider
from tests.workers import Workers

OPTIONS = Options(rate=5, seconds=4, deadline_seconds=180)
OUTAGE_SECONDS = 8

SHARES = {"first good": 6, "second good": 2, "never good": 1, "overloaded once": 1, "wrong request": 1}
"""Shares of scripts without long waits."""


@pytest.fixture(scope="module")
def drills(fleet: Fleet) -> Iterator[Drills]:
    provider = ScriptedProvider()
    try:
        with Workers(fleet, provider.base_url, ENVIRONMENT, 2) as workers:
            yield Drills(Stage(fleet, workers), provider, OPTIONS, print)
    finally:
        provider.close()


@pytest.mark.parametrize(
    "name",
    ["kill-llm-consumer-1", "kill-storage-writer", "kill-flink-taskmanager", "scorer-away", "records-deleted"],
)
def test_a_fault_under_load_loses_and_duplicates_nothing(drills: Drills, name: str) -> None:
    [strike, *_] = strikes_of(ALL[name], OPTIONS.seconds)
    result = drills.play(name, [replace(strike, seconds=min(strike.seconds, OUTAGE_SECONDS))], SHARES)
    account = result.account
    assert account.asked == OPTIONS.rate * OPTIONS.seconds
    assert (account.lost, account.doubled, account.over_limit) == ([], [], []), explain(result)
    assert result.recovered_seconds is not None, explain(result)
