"""Plays a drill: load with a fault in its middle, a wait for quiet, and a comparison of ledger and stores."""

import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.drills.faults import LLM_CONSUMER, LLM_TIMEOUT_SECONDS, Fault, Stage
from tests.drills.ledger import Account, Row, Scored, reconcile
from tests.drills.load import Load
from tests.drills.report import COLUMNS, Result
from tests.drills.scripts import Mix
from tests.fleet import FLINK_GROUP, UNAVAILABLE_ERRORS, Fleet
from tests.scripted_provider import ByAttempt, ScriptedProvider, default_script

POLL_SECONDS = 1.0
LONG = 3
"""A drill with more strikes than this watches the memory of the containers."""
SETTLE_SECONDS = 5.0
"""Time between the two readings of the final states."""

ENVIRONMENT = {"LLM_CONCURRENCY": "16", "LLM_TIMEOUT": str(LLM_TIMEOUT_SECONDS), "LOG_LEVEL": "WARNING"}
"""Settings of the llm-consumers of a drill."""

Log = Callable[[str], None]
"""Shows a line of progress."""


@dataclass(frozen=True)
class Options:
    """Options of a drill.

    Attributes:
        rate: Questions per second.
        seconds: Duration of the load.
        seed: Seed of the scripts.
        deadline_seconds: Time within which the fleet has to recover from the fault.
    """

    rate: float = 10
    seconds: float = 20
    seed: int = 1
    deadline_seconds: float = 240


@dataclass(frozen=True)
class Strike:
    """A fault at its time in a drill.

    Attributes:
        at_seconds: Seconds since the first question.
        fault: The fault.
        seconds: Duration of the fault.
    """

    at_seconds: float
    fault: Fault
    seconds: float


@dataclass(frozen=True)
class _Struck:
    """State of the fleet when a fault struck.

    Attributes:
        fault: The fault.
        at: Time when the fault had been applied.
        calls: Calls of the provider until then, by normalised text and attempt.
        in_flight: Highest number of calls in flight while the fault lasted.
    """

    fault: Fault
    at: datetime
    calls: Mapping[tuple[str, int], int]
    in_flight: int


def strikes_of(fault: Fault, seconds: float) -> list[Strike]:
    """Spreads the strikes of a fault evenly over a load that lasts `seconds`."""
    return [Strike(seconds * number / (fault.times + 1), fault, fault.seconds) for number in range(1, fault.times + 1)]


class Drills:
    """Plays drills one after the other."""

    def __init__(self, stage: Stage, provider: ScriptedProvider, options: Options, log: Log) -> None:
        self._stage = stage
        self._provider = provider
        self._options = options
        self._log = log

    def play(self, name: str, strikes: Sequence[Strike], mix: Mapping[str, float]) -> Result:
        """Plays one drill.

        Args:
            name: Name of the drill.
            strikes: Faults in the order of time, at least one.
            mix: Shares of the provider's scripts by name.
        """
        fleet, options = self._stage.fleet, self._options
        problems: list[str] = []
        if not self._until_quiet(()):
            problems.append("the fleet was not quiet before the drill")
        before = _digests(fleet)
        scripts = Mix(mix, options.seed)
        self._provider.default = _default(scripts)
        load = Load(name, scripts, options.rate, options.seconds, options.deadline_seconds)
        self._log(f"{name}: {options.rate:g} questions/s for {options.seconds:g} s")
        started, began_at = time.monotonic(), time.time()
        load.start()
        struck, memory = [], []
        try:
            for strike in strikes:
                time.sleep(max(0, started + strike.at_seconds - time.monotonic()))
                if len(strikes) > LONG:
                    memory.append(self._memory())
                struck.append(self._strike(strike, problems))
            undone = time.monotonic()
            load.join()
        finally:
            load.cancel()
        if load.refused:
            problems.append(f"{len(load.refused)} questions were refused for good, the first with {load.refused[0]}")
        ids = {entry.question_id for entry in load.ledger}
        self._log(f"{name}: {len(ids)} questions in the ledger, waiting for quiet")
        well_at = self._until_quiet(ids)
        account = self._account(load, before)
        found_lost = _found_lost(self._stage, began_at)
        if found_lost and not any(strike.fault.loses for strike in strikes):
            problems.append(f"{found_lost} questions were found lost, and nothing loses any")
        if memory:
            memory.append(self._memory())
        result = Result(
            name,
            account,
            sum(self._allowed(each, load.ids) for each in struck),
            well_at - undone if well_at else None,
            problems,
            found_lost,
            _p95_seconds(fleet, ids),
            tuple(strike.fault.name for strike in strikes),
            tuple(memory),
            datetime.now(UTC),
        )
        figures = ", ".join(f"{column} {cell}" for column, cell in zip(COLUMNS[1:], result.cells()[1:], strict=True))
        self._log(f"{name}: {'passed' if result.passed else 'FAILED'}: {figures}")
        for problem in problems:
            self._log(f"{name}: {problem}")
        return result

    def _strike(self, strike: Strike, problems: list[str]) -> _Struck:
        """Applies a fault, undoes it after its time, and returns the state of the fleet at that time."""
        fault = strike.fault
        peak = self._provider.watch_peak()
        self._log(f"{fault.name}: strikes")
        try:
            _try(lambda: fault.apply(self._stage), problems)
            at, calls = datetime.now(UTC), self._provider.counts()
            time.sleep(strike.seconds)  # the fault lasts
        finally:
            _try(lambda: fault.undo(self._stage), problems)
        self._log(f"{fault.name}: over")
        return _Struck(fault, at, calls, peak())

    def _allowed(self, struck: _Struck, ids: Mapping[str, str]) -> int:
        """Returns the number of calls that may be repeated because of a fault; `ids` has the question ids by text."""
        allowed = struck.in_flight * struck.fault.moments if struck.fault.repeats else 0
        if struck.fault.loses:
            # The answer of each call may be among what was lost, until the question is final. A consumer whose
            # committed offset was lost reads messages of final questions again, too.
            final = () if struck.fault.rewinds else _final_before(self._stage.fleet, struck.at)
            allowed += sum(count for (text, _), count in struck.calls.items() if text in ids and ids[text] not in final)
        return allowed

    def _memory(self) -> dict[str, float]:
        """Returns the memory of a container of each service in MB, without page cache."""
        fleet, found = self._stage.fleet, {}
        workers = [(LLM_CONSUMER, each) for each in self._stage.containers(LLM_CONSUMER)]
        for service, each in [*((it.labels["com.docker.compose.service"], it) for it in fleet.containers()), *workers]:
            stats = fleet.docker.api.stats(str(each.id), stream=False, one_shot=True)["memory_stats"]
            if "usage" in stats:  # the container is running
                found[service] = (stats["usage"] - stats["stats"].get("inactive_file", 0)) / 1e6
        return found

    def _until_quiet(self, ids: Collection[str]) -> float | None:
        """Waits until no work is left.

        Returns:
            The monotonic time at which all work except the commits of the Flink job was done; None if there is work
            left at the deadline.
        """
        deadline = time.monotonic() + self._options.deadline_seconds
        logged_at = time.monotonic()
        well_at = None
        while True:
            try:
                pending = _pending(self._stage.fleet, ids)
                if pending:
                    # Without other answers the provider counts as unavailable, so that questions use up no retries.
                    self._stage.fleet.ask(f"Is anybody else there? ({uuid.uuid4().hex})")
                unmet, uncommitted = _unmet(self._stage.fleet, pending)
            except (AssertionError, *UNAVAILABLE_ERRORS) as error:
                unmet, uncommitted = [repr(error)], 0
            now = time.monotonic()
            well_at = None if unmet else well_at or now
            if well_at and not uncommitted:
                return well_at
            if now > deadline:
                self._log(f"not quiet: {'; '.join(unmet) or f'the job has not committed {uncommitted} messages'}")
                return None
            if now - logged_at > 15:
                logged_at = now
                self._log(f"  still {'; '.join(unmet) or f'{uncommitted} messages without a checkpoint'}")
            time.sleep(POLL_SECONDS)

    def _account(self, load: Load, before: Mapping[str, tuple[int, str]]) -> Account:
        fleet, ledger = self._stage.fleet, load.ledger
        ids = [entry.question_id for entry in ledger]
        first = _rows(fleet, ids)
        time.sleep(SETTLE_SECONDS)  # nothing may change in this time
        second = _rows(fleet, ids)
        after = _digests(fleet)
        # A final state may change only when a failed question is asked again.
        gone = (0, "")
        changed = {
            id
            for id, (asked, digest) in before.items()
            if after.get(id, gone) == gone or (after[id][0] == asked and after[id][1] != digest)
        }
        by_text = load.ids
        calls = {
            (by_text[text], attempt): count
            for (text, attempt), count in self._provider.counts().items()
            if text in by_text
        }
        return reconcile(ledger, first, second, calls, changed)


def _try(step: Callable[[], None], problems: list[str]) -> None:
    """Runs a step. Any error is added to the problems of this drill, and the other drills are still played."""
    try:
        step()
    except (AssertionError, *UNAVAILABLE_ERRORS) as error:
        problems.append(" ".join(str(error).split()))
    except Exception as error:
        problems.append(" ".join(f"{type(error).__name__}: {error}".split()))


def _default(mix: Mix) -> Callable[[str], ByAttempt]:
    """Returns a function that returns the script of a question; questions outside the drill have a fixed answer."""
    return lambda text: mix.script_of(text).replies if text.startswith("drill ") else default_script(text)


def _pending(fleet: Fleet, ids: Collection[str]) -> int:
    statement = "SELECT count(*) AS n FROM questions WHERE status = 'pending' AND question_id = ANY(%s)"
    return int(fleet.sql(statement, list(ids))[0]["n"])


def _unmet(fleet: Fleet, pending: int) -> tuple[list[str], int]:
    """Returns descriptions of the work that is left, and the lag of the Flink job's group."""
    found = []
    if pending:
        found.append(f"{pending} questions pending")
    outbox = fleet.sql("SELECT count(*) AS n FROM questions WHERE status = 'pending' AND published_at IS NULL")[0]["n"]
    if outbox:
        found.append(f"{outbox} questions in the outbox")
    if not fleet.job_works():
        found.append("the Flink job does not run")
    lags = fleet.lags()
    found += [f"lag {lag} of {group}" for group, lag in lags.items() if lag and group != FLINK_GROUP]
    return found, lags[FLINK_GROUP]


def _final_before(fleet: Fleet, at: datetime) -> set[str]:
    """Returns the questions that were final before a time."""
    rows = fleet.sql(
        """
        SELECT question_id FROM questions LEFT JOIN responses AS r USING (question_id)
            LEFT JOIN failed_questions AS f USING (question_id)
        WHERE coalesce(r.created_at, f.failed_at) < %s
        """,
        at,
    )
    return {row["question_id"] for row in rows}


def _found_lost(stage: Stage, since: float) -> int:
    """Returns the number of lost questions that storage-writer has published again since a time."""
    [writer] = stage.containers("storage-writer")
    return writer.logs(since=since).decode(errors="replace").count("found a lost question")


def _p95_seconds(fleet: Fleet, ids: Collection[str]) -> float | None:
    """Returns the time within which 95 % of the questions were final; None if none is final."""
    [row] = fleet.sql(
        """
        SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95
        FROM (
            SELECT extract(epoch FROM coalesce(r.created_at, f.failed_at) - q.asked_at) AS seconds
            FROM questions AS q LEFT JOIN responses AS r USING (question_id)
                LEFT JOIN failed_questions AS f USING (question_id)
            WHERE q.question_id = ANY(%s)
        ) AS times
        """,
        list(ids),
    )
    return None if row["p95"] is None else float(row["p95"])


def _digests(fleet: Fleet) -> dict[str, tuple[int, str]]:
    """Returns for each final question how often it was asked and a digest of its rows without timestamps."""
    rows = fleet.sql("""
        SELECT q.question_id, q.times_asked, md5(concat(
            q.status, to_jsonb(r) - '{created_at,updated_at}'::text[], to_jsonb(f) - 'failed_at',
            (SELECT jsonb_agg(to_jsonb(a) - 'generated_at' ORDER BY attempt)
             FROM attempts AS a WHERE a.question_id = q.question_id))) AS digest
        FROM questions AS q LEFT JOIN responses AS r USING (question_id) LEFT JOIN failed_questions AS f
            USING (question_id)
        WHERE q.status <> 'pending'
    """)
    return {row["question_id"]: (row["times_asked"], row["digest"]) for row in rows}


def _rows(fleet: Fleet, ids: Sequence[str]) -> dict[str, Row]:
    """Reads the rows of questions from PostgreSQL."""
    rows = fleet.sql(
        """
        SELECT q.question_id, q.status, r.quality, r.processing_attempts, r.llm_response, r.bert_score, f.reason,
            f.retry_count
        FROM questions AS q LEFT JOIN responses AS r USING (question_id) LEFT JOIN failed_questions AS f
            USING (question_id)
        WHERE q.question_id = ANY(%s)
        """,
        list(ids),
    )
    attempts: dict[str, list[Scored]] = {}
    for each in fleet.sql(
        "SELECT question_id, attempt, llm_response, bert_score FROM attempts WHERE question_id = ANY(%s) ORDER BY 2",
        list(ids),
    ):
        scored = Scored(each["attempt"], each["llm_response"], each["bert_score"])
        attempts.setdefault(each["question_id"], []).append(scored)
    errors = {each["question_id"]: each for each in _errors(fleet, ids)}
    found = {}
    for row in rows:
        id = row["question_id"]
        error = errors.get(id, {"attempt": 0, "retry": 0, "waits": 0})
        found[id] = Row(
            status=row["status"],
            quality=row["quality"],
            reason=row["reason"],
            generations=max(row["processing_attempts"] or 0, len(attempts.get(id, ())), error["attempt"]),
            retries=max(row["retry_count"] or 0, error["retry"]),
            waits=error["waits"],
            kept=row["llm_response"],
            kept_score=row["bert_score"],
            attempts=tuple(attempts.get(id, ())),
        )
    return found


def _errors(fleet: Fleet, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the failed calls of each question: highest attempt and retry, and how many used up no retry."""
    return fleet.sql(
        """
        SELECT question_id, max(attempt) AS attempt, max(retry) AS retry,
               sum(times - CASE WHEN counts_as_retry THEN 1 ELSE 0 END)::int AS waits
        FROM call_errors
        WHERE question_id = ANY(%s) GROUP BY question_id
        """,
        list(ids),
    )
