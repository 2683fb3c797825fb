"""What does a question wait for beside model and scorer? `python -m benchmarks.latency`, in the tests' container.

One question a second is asked of the fleet and of the Celery baseline by turns. Model and scorer are fakes that answer
at once, so that all of the time from `POST /query` to the row in PostgreSQL is added by what is around them; the stages
between are told by the time stamps that the rows carry.
"""

import argparse
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from benchmarks import report, stage
from benchmarks.report import Comparison, Measurement, Run, percentile
from benchmarks.stage import BASELINE_DATABASE, BASELINE_URL, REFERENCE, Baseline, Database, ScriptedScorer
from tests.fleet import STORAGE
from tests.workers import SERVICE, Workers

PROGRAM = "latency"
WARM_UP = 10
WORKERS = 2
THREADS = 16
"""Questions that may be under way at the same time."""

LOOK_SECONDS = 0.005
LONGEST_SECONDS = 30.0
FLEET, CELERY = "fleet", "celery"

METHOD = f"""\
Questions are due at a steady rate, however long the ones before take. Each is posted, and from then on its row is
looked for by its id every {LOOK_SECONDS * 1000:g} ms, on both sides alike: the times are late by that at most. Nothing
is subtracted for the fakes of model and scorer, which answer at once. Stages: until the model has answered; until the
score is decided on (for the baseline: until it writes); until the row is seen. A Flink job whose sinks are
transactional (EXACTLY_ONCE) was not run beside it: what it writes can be seen with its next checkpoint only, half of
the interval between checkpoints later on average."""


@dataclass(frozen=True)
class Way:
    """The times of one question, in milliseconds from its `POST`.

    Attributes:
        answered: When the model had answered.
        decided: When the answer was judged.
        kept: When the row was seen.
    """

    answered: float
    decided: float
    kept: float


def summary(side: str, number: int, ways: Sequence[Way]) -> Run:
    """Returns the percentiles of one round, in milliseconds."""
    kept = [way.kept for way in ways]
    return {
        "side": side,
        "round": number,
        "questions": len(ways),
        "p50": percentile(kept, 0.5),
        "p90": percentile(kept, 0.9),
        "p99": percentile(kept, 0.99),
        "most": max(kept),
        "to the answer, p50": percentile([way.answered for way in ways], 0.5),
        "to the decision, p50": percentile([way.decided - way.answered for way in ways], 0.5),
        "to the row, p50": percentile([way.kept - way.decided for way in ways], 0.5),
    }


def compare(ways: Sequence[Way]) -> tuple[Comparison, ...]:
    """Compares all of the fleet's ways with the goals."""
    kept = [way.kept for way in ways]
    return tuple(
        Comparison(
            figure=f"added latency at 1 question/s, {name}",
            unit="ms",
            fleet=percentile(kept, share),
            against=None,
            baseline="",
            goal=goal,
            sense="at most",
        )
        for name, share, goal in (("p50", 0.5, 150), ("p99", 0.99, 500))
    )


class Asking:
    """Asks at a steady rate and follows each question to its row."""

    def __init__(self, url: str, database: str | None, rate: float) -> None:
        """Takes where to ask and to look.

        Args:
            url: Of the API.
            database: Its name; None: the fleet's.
            rate: Questions a second.
        """
        self._url = f"{url}/query"
        self._database = database
        self._rate = rate
        self._local = threading.local()
        self._opened: list[Database] = []

    def ask(self, texts: Sequence[str]) -> list[Way]:
        """Asks and waits until every question is followed."""
        began = time.monotonic() + 0.5
        try:
            with ThreadPoolExecutor(THREADS, initializer=self._connect) as pool:
                due = [began + number / self._rate for number in range(len(texts))]
                return list(pool.map(self._follow, texts, due))
        finally:
            for each in self._opened:
                each.close()
            self._opened.clear()

    def _connect(self) -> None:
        self._local.database = Database(self._database)
        self._local.session = requests.Session()
        self._opened.append(self._local.database)

    def _follow(self, text: str, due: float) -> Way:
        time.sleep(max(0.0, due - time.monotonic()))
        posted, clock = time.time(), time.perf_counter()
        body: dict[str, Any] = {"question_text": text, "original_answer": REFERENCE}
        reply = self._local.session.post(self._url, json=body, timeout=LONGEST_SECONDS)
        if reply.status_code != 202:
            raise stage.could_not_measure(f"{self._url} answered {reply.status_code}")
        question_id = reply.json()["question_id"]
        while True:
            rows = self._local.database.rows(
                """
                SELECT extract(epoch FROM a.generated_at), extract(epoch FROM r.created_at)
                FROM responses AS r JOIN attempts AS a USING (question_id) WHERE question_id = %s
                """,
                question_id,
            )
            kept = time.perf_counter() - clock
            if rows:
                [(answered, decided)] = rows
                return Way((float(answered) - posted) * 1000, (float(decided) - posted) * 1000, kept * 1000)
            if kept > LONGEST_SECONDS:
                raise stage.could_not_measure(f"no row of {question_id} within {LONGEST_SECONDS:g} s")
            time.sleep(LOOK_SECONDS)


def main() -> None:
    """Measures and keeps the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=100, help="of each round (default: 100)")
    parser.add_argument("--rounds", type=int, default=2, help="of each side, by turns (default: 2)")
    parser.add_argument("--rate", type=float, default=1, help="questions a second (default: 1)")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help=f"folder (default: {report.RESULTS})")
    options = parser.parse_args()
    machine = report.machine()
    runs: list[Run] = []
    ways: dict[str, list[Way]] = {FLEET: [], CELERY: []}
    provider = stage.instant_provider()
    try:
        with (
            stage.quiet_fleet() as fleet,
            ScriptedScorer(fleet),
            Workers(fleet, provider.base_url, {"LLM_CONCURRENCY": "4"}, WORKERS),
            Baseline(fleet, provider.base_url, "kinds", 16, 4),
        ):
            stage.await_members(SERVICE, WORKERS)
            sides = {
                FLEET: Asking(STORAGE, None, options.rate),
                CELERY: Asking(BASELINE_URL, BASELINE_DATABASE, options.rate),
            }
            for asking in sides.values():
                asking.ask(stage.texts(WARM_UP)[1])
            for number in range(options.rounds):
                for side in (FLEET, CELERY) if number % 2 == 0 else (CELERY, FLEET):
                    found = sides[side].ask(stage.texts(options.questions)[1])
                    ways[side] += found
                    runs.append(summary(side, number + 1, found))
                    print(runs[-1], flush=True)
    finally:
        provider.close()
    report.keep(
        Measurement(
            program=PROGRAM,
            question="What does a question wait for beside model and scorer, at 1 question/s? In milliseconds.",
            method=METHOD,
            at=report.now(),
            machine=machine,
            comparisons=compare(ways[FLEET]),
            runs=tuple(runs),
        ),
        options.results,
    )


if __name__ == "__main__":
    main()
