"""Measures how fast the dashboard opens: `python -m studies.fleet.first_view`, in the tests' container.

A real browser opens the overview, each time with an empty cache, with thousands of answers in the database.
"""

import argparse
import time
from collections.abc import Sequence

from playwright.sync_api import Browser

from studies.fleet.environment.database import Database
from studies.fleet.environment.fleet import idle_fleet
from studies.fleet.environment.questions import fill
from studies.reporting.results import Comparison, Run, median
from studies.reporting.study import Findings, Runs, option, study
from tests.browser import DASHBOARD, await_charts, chromium

GOAL_MS = 1000.0
WARM_UP = 2
NUMBERS, CHARTS = "key figures and the way of a question, ms", "all five charts, ms"

METHOD = f"""\
Chromium opens the overview with an empty cache, {{rounds}} times after {WARM_UP} that do not count. The completed
questions in the database have made-up scores. A time is from the start of the navigation until Playwright sees the
elements in the page; browser and fleet share the machine."""


def compare(runs: Sequence[Run]) -> tuple[Comparison, ...]:
    """Compares the medians with the goal."""
    return tuple(
        Comparison(
            figure=f"dashboard with {runs[0]['answers']} answers: {column.removesuffix(', ms')}",
            unit="ms",
            fleet=median(runs, column),
            against=None,
            baseline="",
            goal=GOAL_MS,
            sense="at most",
        )
        for column in (NUMBERS, CHARTS)
    )


def open_overview(browser: Browser) -> dict[str, float]:
    """Opens the overview once; returns the milliseconds until its parts were shown."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    try:
        page = context.new_page()
        began = time.perf_counter()

        def elapsed() -> float:
            return (time.perf_counter() - began) * 1000

        page.goto(DASHBOARD, wait_until="commit")
        page.locator("#picture svg").wait_for()
        page.locator('body[data-state="live"]').wait_for()
        numbers = elapsed()
        await_charts(page)
        return {NUMBERS: numbers, CHARTS: elapsed()}
    finally:
        context.close()


@study(
    "How fast does the dashboard open, with {answers} answers?",
    METHOD,
    option("--answers", type=int, default=10_000, help="minimum of answers in the database (default: 10000)"),
    option("--rounds", type=int, default=9, help="(default: 9)"),
)
def main(options: argparse.Namespace, runs: Runs) -> Findings:
    """Measures."""
    with idle_fleet(), chromium() as browser:
        database = Database()
        answers = fill(database, options.answers)
        database.close()
        for number in range(-WARM_UP, options.rounds):
            times = open_overview(browser)
            if number >= 0:
                runs.add({"answers": answers, "round": number + 1, **times})
    return Findings(compare(runs), facts={"answers": answers, "rounds": options.rounds})


if __name__ == "__main__":
    main()
