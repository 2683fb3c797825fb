"""Measures benefits and costs of queues: `python -m studies.fleet.sync_vs_async`, in the tests' container.

Runs the same questions, with the same fake model and the real scorer, through a synchronous service
(studies/baselines/synchronous) and through the fleet, alternately: with steady load, a burst, a model with errors, and
with the service killed during the run. Writes docs/sync-vs-async.md with its plots, and the raw numbers.
"""

import argparse
import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from docker.models.containers import Container
from matplotlib.figure import Figure

from studies.fleet.environment.containers import running_container
from studies.fleet.environment.database import Database, address, separate_database
from studies.fleet.environment.fakes import ANSWER, REFERENCE
from studies.fleet.environment.fleet import idle_fleet
from studies.fleet.environment.http_load import question
from studies.fleet.environment.questions import unique_questions
from studies.fleet.environment.visitors import PATIENCE_SECONDS, VisitResult, visit
from studies.fleet.environment.waiting import POLL_SECONDS, wait_for_members, wait_for_port
from studies.reporting import plots
from studies.reporting.files import write
from studies.reporting.results import Measurement, Run
from studies.reporting.statistics import percentile
from studies.reporting.study import Findings, Runs, option, study
from studies.reporting.tables import table_of
from studies.reporting.templates import render
from tests.fleet import STORAGE, Fleet
from tests.scripted_provider import ByAttempt, ScriptedProvider, answer, refusal
from tests.workers import SERVICE, Workers

SYNC, FLEET = "synchronous", "fleet"
DOCUMENT = Path("docs/sync-vs-async.md")
PLOTS = {"times": "images/sync-vs-async-times.png", "shares": "images/sync-vs-async-shares.png"}
"""Paths of the plots, relative to the document."""

IMAGE, ALIAS, DATABASE = "askfleet/sync-service", "sync-service", "sync_service"
STORAGE_SERVICE = "storage-service"
WORKERS = 2
BAD_ANSWER = "Bananas are yellow."
DOWN_SECONDS = 5.0
OUTAGE_SECONDS = 15.0
SETTLE_SECONDS = 150.0
"""Wait after the last visitor, for questions in flight, which may include quota waits of 60 s."""

METHOD = f"""\
Each question is a visitor with a connection of their own who comes when it is due (an open loop), retries each second
while no server listens, and gives up after {PATIENCE_SECONDS:g} s. The synchronous service replies with the answer. The
fleet replies with 202, and visitors poll `/status/ID?wait=`. The model is a fake with as many calls in flight on both
sides; one first answer in five is bad and generated again. The scorer is the real one.

- Faulty: a fifth of the questions gets 503 twice; after a third of the time the model refuses all calls for
  {OUTAGE_SECONDS:g} s, with 429 and a `Retry-After`.
- Killed: SIGKILL after half of the time, and a start {DOWN_SECONDS:g} s later; of the fleet, storage-service and both
  llm-consumers.
- Kept in the end: rows with an answer {SETTLE_SECONDS:g} s after the last visitor left, or once nothing is pending."""


@dataclass(frozen=True)
class Scenario:
    """A load.

    Attributes:
        name: Shown in the table.
        due: When each question is due, in seconds from the start.
        faulty: Whether the model sometimes replies with errors.
        outage_at: When the model starts to refuse all calls, in seconds from the start; None: never.
        kill_at: When the service is killed, in seconds from the start; None: never.
    """

    name: str
    due: tuple[float, ...]
    faulty: bool = False
    outage_at: float | None = None
    kill_at: float | None = None


def scenarios(rate: float, seconds: float, burst: int) -> list[Scenario]:
    """Returns the loads.

    Args:
        rate: Questions per second of the steady loads.
        seconds: Duration of the steady loads.
        burst: Questions of the burst.
    """
    steady = tuple(number / rate for number in range(round(rate * seconds)))
    return [
        Scenario("steady", steady),
        Scenario("burst", (0.0,) * burst),
        Scenario("faulty", steady, faulty=True, outage_at=seconds / 3),
        Scenario("killed", steady, kill_at=seconds / 2),
    ]


def script(text: str, latency_seconds: float, faulty: bool) -> ByAttempt:
    """Returns the model's replies to a question, which depend only on the number in its text: equal for both sides.

    A fifth of the first answers is bad. With errors, a fifth of the questions gets 503 twice.

    Args:
        text: Text of the question.
        latency_seconds: Latency of an answer; errors are immediate.
        faulty: Whether there are errors.
    """
    number = text.partition("question ")[2].partition(":")[0]
    dealt = int(hashlib.sha256(number.encode()).hexdigest()[:8], 16)
    good = [answer(ANSWER, latency_seconds)]
    first = [answer(BAD_ANSWER, latency_seconds)] if dealt % 5 == 0 else good
    if not faulty:
        return [first, good]
    if dealt // 5 % 5 == 0:
        return [[refusal(503, "the server is busy")] * 2 + first, good]
    return [first, good]


def refused_to_all(seconds_left: float) -> ByAttempt:
    """Returns the model's reply to all questions during an outage."""
    return [[refusal(429, "too many requests", {"Retry-After": str(math.ceil(seconds_left))})]]


def summary(
    scenario: Scenario,
    side: str,
    fates: Sequence[VisitResult],
    kept: Collection[int],
    pending: Collection[int],
    calls: int,
) -> Run:
    """Returns the raw numbers of one run; times in seconds.

    Args:
        scenario: The load.
        side: Name of the side.
        fates: Results of the visitors, one for each question.
        kept: Indices of the questions that have an answer in the end.
        pending: Indices of the questions that may still get one.
        calls: Number of calls of the model.
    """
    outcomes = Counter(each.outcome for each in fates)
    replies = [each.first_reply for each in fates if each.first_reply is not None]
    answers = [each.answer for each in fates if each.answer is not None]
    run: Run = {"load": scenario.name, "side": side, "questions": len(fates)}
    for name, values in (("first reply", replies), ("answer", answers)):
        for share in (0.5, 0.99):
            run[f"{name} p{share * 100:.0f}, s"] = percentile(values, share) if values else ""
    # Until the last answer: with a steady load the rate of answers is limited by that of questions.
    ends = [at + each.answer for at, each in zip(scenario.due, fates, strict=True) if each.answer is not None]
    return run | {
        "answered/s": len(ends) / max(ends) if ends else 0.0,
        "answered in time": outcomes["answered"] / len(fates),
        "gave up": outcomes["gave up"],
        "refused": outcomes["refused"],
        "broken off": outcomes["broken"],
        "kept in the end": len(kept) / len(fates),
        "accepted, pending in the end": sum(each.accepted and place in pending for place, each in enumerate(fates)),
        "accepted, then lost": sum(
            each.accepted and place not in kept and place not in pending for place, each in enumerate(fates)
        ),
        "calls of the model/answer": calls / len(kept) if kept else "",
    }


class Visits:
    """Sends visitors to one side."""

    def __init__(self, pool: ProcessPoolExecutor, provider: ScriptedProvider, latency_seconds: float) -> None:
        self._pool = pool
        self._provider = provider
        self._latency = latency_seconds

    def run(self, scenario: Scenario, side: str, url: str, database: Database, killed: Sequence[Container]) -> Run:
        """Measures one load.

        Args:
            scenario: The load.
            side: Name of the side.
            url: Address of the side.
            database: Database of its answers.
            killed: Containers to kill, if the load includes that.
        """
        beginning, texts = unique_questions(len(scenario.due))
        before = sum(self._provider.counts().values())
        start = time.time() + 1

        def said(text: str) -> ByAttempt:
            if scenario.outage_at is not None:
                left = start + scenario.outage_at + OUTAGE_SECONDS - time.time()
                if 0 < left <= OUTAGE_SECONDS:
                    return refused_to_all(left)
            return script(text, self._latency, scenario.faulty)

        self._provider.default = said
        visiting = self._pool.submit(visit, url, [question(text, REFERENCE) for text in texts], scenario.due, start)
        if scenario.kill_at is not None:
            time.sleep(start + scenario.kill_at - time.time())  # at a fixed time, in any state
            for each in killed:
                each.kill()
            time.sleep(DOWN_SECONDS)
            for each in killed:
                each.start()
        fates = visiting.result()
        statuses = await_settled(database, beginning, SETTLE_SECONDS)
        kept, pending = (
            {place for place, text in enumerate(texts) if statuses.get(text) == status}
            for status in ("completed", "pending")
        )
        return summary(scenario, side, fates, kept, pending, sum(self._provider.counts().values()) - before)


def await_settled(database: Database, beginning: str, seconds: float) -> dict[str, str]:
    """Waits until no question is pending, at most `seconds`; returns statuses by texts."""
    deadline = time.monotonic() + seconds
    while True:
        rows = database.rows("SELECT question_text, status FROM questions WHERE question_text LIKE %s", f"{beginning}%")
        pending = any(status == "pending" for _, status in rows)
        if not pending or time.monotonic() > deadline:
            return dict(rows)
        time.sleep(POLL_SECONDS)


@contextmanager
def synchronous(fleet: Fleet, provider_url: str, concurrency: int) -> Iterator[tuple[Container, Database]]:
    """Runs the synchronous service on the fleet's network, with its own database."""
    with (
        separate_database(DATABASE) as database,
        running_container(
            fleet,
            IMAGE,
            ALIAS,
            environment={
                "CACHE_URL": "redis://redis:6379/2",
                "POSTGRES_URL": address(DATABASE),
                "LLM_BASE_URL": provider_url,
                "LLM_CONCURRENCY": str(concurrency),
            },
            mem_limit="512m",
        ) as container,
    ):
        wait_for_port(ALIAS, 5001)
        yield container, database


def document(measurement: Measurement) -> str:
    """Returns the page; columns that are 0 in all runs are not in its table."""
    runs = measurement.runs
    zero = [column for column in runs[0] if all(run[column] == 0 for run in runs)]
    return render(
        "fleet/templates/sync-vs-async.md.j2",
        measured=measurement,
        plots=PLOTS,
        table=table_of([{column: value for column, value in run.items() if column not in zero} for run in runs]),
        zero=zero,
        findings=findings(runs),
    )


def findings(runs: Sequence[Run]) -> list[str]:
    """Returns the findings as sentences, for each load."""
    said = []
    for load in dict.fromkeys(str(run["load"]) for run in runs):
        by_side = {str(run["side"]): run for run in runs if run["load"] == load}
        if by_side.keys() != {SYNC, FLEET}:
            continue
        parts = []
        for side, run in by_side.items():
            first, answered = _seconds(run["first reply p50, s"]), _seconds(run["answer p50, s"])
            parts.append(
                f"{side}: first reply after {first}, answer after {answered} (p50), "
                f"{float(run['answered in time']):.1%} answered in time, "
                f"{float(run['kept in the end']):.1%} kept in the end"
            )
        said.append(f"- **{load}** — {'; '.join(parts)}.")
    return said


def _seconds(value: str | int | float) -> str:
    return f"{value:.3g} s" if value != "" else "never"


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Returns the plots by their names in `PLOTS`."""
    colours = {SYNC: plots.BAD, FLEET: plots.GOOD}
    loads = list(dict.fromkeys(run["load"] for run in runs))
    drawn = {}
    for name, columns, scale, span in (
        ("times", ("first reply p50, s", "first reply p99, s", "answer p50, s", "answer p99, s"), "log", (0.003, 100)),
        ("shares", ("answered in time", "kept in the end"), "linear", (0, 1.05)),
    ):
        drawn[name], axes = plots.panels(len(columns), share_y=True)
        for axis, column in zip(axes, columns, strict=True):
            for shift, (side, colour) in zip((-0.2, 0.2), colours.items(), strict=True):
                own = [run for run in runs if run["side"] == side and run[column] != ""]
                places = [loads.index(run["load"]) + shift for run in own]
                axis.bar(places, [float(run[column]) for run in own], 0.4, color=colour, label=side)
            axis.set(title=column, yscale=scale, ylim=span)
            axis.set_xticks(range(len(loads)), loads)
        plots.legend_above(drawn[name], axes[0])
    return drawn


def write_page(options: argparse.Namespace, measurement: Measurement) -> None:
    """Writes the page and its plots."""
    write(options.output, document(measurement).encode())
    for name, figure in figures(measurement.runs).items():
        write(options.output.parent / PLOTS[name], plots.png(figure))


@study(
    "What are the benefits and costs of queues?",
    METHOD,
    option("--rate", type=float, default=8, help="questions per second, except the burst (default: 8)"),
    option("--seconds", type=float, default=60, help="duration, except the burst (default: 60)"),
    option("--burst", type=int, default=1000, help="questions at once (default: 1000)"),
    option("--latency", type=float, default=1, help="latency of the model in seconds (default: 1)"),
    option("--concurrency", type=int, default=16, help="calls in flight on each side (default: 16)"),
    option("--output", type=Path, default=DOCUMENT, help=f"page (default: {DOCUMENT})"),
    finish=write_page,
)
def main(options: argparse.Namespace, runs: Runs) -> Findings:
    """Measures."""
    provider = ScriptedProvider()
    try:
        with (
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
            idle_fleet() as fleet,
            Workers(fleet, provider.base_url, {"LLM_CONCURRENCY": str(options.concurrency)}, WORKERS) as workers,
            synchronous(fleet, provider.base_url, options.concurrency) as (container, database),
        ):
            wait_for_members(SERVICE, WORKERS)
            fleet_database, visits = Database(), Visits(pool, provider, options.latency)
            front = fleet.container(STORAGE_SERVICE)
            sides: dict[str, Callable[[Scenario], Run]] = {
                SYNC: lambda load: visits.run(load, SYNC, f"http://{ALIAS}:5001", database, [container]),
                FLEET: lambda load: visits.run(load, FLEET, STORAGE, fleet_database, [front, *workers.containers]),
            }
            for number, load in enumerate(scenarios(options.rate, options.seconds, options.burst)):
                for side in (SYNC, FLEET) if number % 2 == 0 else (FLEET, SYNC):
                    runs.add(sides[side](load))
            fleet.wait_healthy(STORAGE_SERVICE)
            fleet_database.close()
    finally:
        provider.close()
    return Findings()


if __name__ == "__main__":
    main()
