"""One drill: load, a fault in its middle, quiet, and then the books."""

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
from tests.fleet import AWAY, FLINK_GROUP, Fleet
from tests.scripted_provider import ByAttempt, ScriptedProvider, untold

LOOK_SECONDS = 1.0
LONG = 3
"""A drill with more strikes than this watches the memory of the containers."""
SETTLE_SECONDS = 5.0
"""Between the two readings of the final states."""

ENVIRONMENT = {"LLM_CONCURRENCY": "16", "LLM_TIMEOUT": str(LLM_TIMEOUT_SECONDS), "LOG_LEVEL": "WARNING"}
"""Of the llm-consumers of a drill."""

Tell = Callable[[str], None]
"""Shows a line of progress."""


@dataclass(frozen=True)
class Options:
    """How hard a drill is.

    Attributes:
        rate: Questions a second.
        seconds: For which questions are asked.
        seed: Of the scripts.
        deadline_seconds: In which the fleet has to be well again after the fault.
    """

    rate: float = 10
    seconds: float = 20
    seed: int = 1
    deadline_seconds: float = 240


@dataclass(frozen=True)
class Strike:
    """A fault at its time.

    Attributes:
        at_seconds: From the first question.
        fault: What goes wrong.
        seconds: For how long.
    """

    at_seconds: float
    fault: Fault
    seconds: float


@dataclass(frozen=True)
class _Struck:
    """How it was when a fault struck.

    Attributes:
        fault: What went wrong.
        at: When it had gone wrong.
        calls: Calls of the provider so far, by normalised text and attempt.
        in_flight: The most calls at a time while the fault lasted.
    """

    fault: Fault
    at: datetime
    calls: Mapping[tuple[str, int], int]
    in_flight: int


def strikes_of(fault: Fault, seconds: float) -> list[Strike]:
    """Spreads the strikes of a fault evenly over a load that lasts `seconds`."""
    return [Strike(seconds * number / (fault.times + 1), fault, fault.seconds) for number in range(1, fault.times + 1)]


class Drills:
    """Plays drills on one stage, one after the other."""

    def __init__(self, stage: Stage, provider: ScriptedProvider, options: Options, tell: Tell) -> None:
        self._stage = stage
        self._provider = provider
        self._options = options
        self._tell = tell

    def play(self, name: str, strikes: Sequence[Strike], mix: Mapping[str, float]) -> Result:
        """Plays one drill.

        Args:
            name: Of the drill.
            strikes: What goes wrong, in the order of time; at least one.
            mix: Shares of the provider's scripts.
        """
        fleet, options = self._stage.fleet, self._options
        problems: list[str] = []
        if not self._until_quiet(()):
            problems.append("the fleet was not quiet before the drill")
        before = _digests(fleet)
        scripts = Mix(mix, options.seed)
        self._provider.default = _default(scripts)
        load = Load(name, scripts, options.rate, options.seconds, options.deadline_seconds)
        self._tell(f"{name}: {options.rate:g} questions/s for {options.seconds:g} s")
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
        self._tell(f"{name}: {len(ids)} questions in the ledger, waiting for quiet")
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
        self._tell(f"{name}: {'passed' if result.passed else 'FAILED'}: {figures}")
        for problem in problems:
            self._tell(f"{name}: {problem}")
        return result

    def _strike(self, strike: Strike, problems: list[str]) -> _Struck:
        """Lets a fault strike, and returns how it was meanwhile."""
        fault = strike.fault
        peak = self._provider.watch_peak()
        self._tell(f"{fault.name}: strikes")
        try:
            _try(lambda: fault.apply(self._stage), problems)
            at, calls = datetime.now(UTC), self._provider.counts()
            time.sleep(strike.seconds)  # the fault lasts
        finally:
            _try(lambda: fault.undo(self._stage), problems)
        self._tell(f"{fault.name}: over")
        return _Struck(fault, at, calls, peak())

    def _allowed(self, struck: _Struck, ids: Mapping[str, str]) -> int:
        """Returns how many calls may be made again after a strike; takes the ids of the questions by their texts."""
        allowed = struck.in_flight if struck.fault.repeats else 0
        if struck.fault.loses:
            # The answer of each call may be among what was lost, until the question is final.
            final = _final_before(self._stage.fleet, struck.at)
            allowed += sum(count for (text, _), count in struck.calls.items() if text in ids and ids[text] not in final)
        return allowed

    def _memory(self) -> dict[str, float]:
        """Returns the memory of each container in MB, page cache apart, by the name of its service."""
        fleet, found = self._stage.fleet, {}
        workers = [(LLM_CONSUMER, each) for each in self._stage.containers(LLM_CONSUMER)]
        for service, each in [*((it.labels["com.docker.compose.service"], it) for it in fleet.containers()), *workers]:
            stats = fleet.docker.api.stats(str(each.id), stream=False, one_shot=True)["memory_stats"]
            if "usage" in stats:  # it runs
                found[service] = (stats["usage"] - stats["stats"].get("inactive_file", 0)) / 1e6
        return found

    def _until_quiet(self, ids: Collection[str]) -> float | None:
        """Waits until nothing is left to do.

        Returns:
            The monotonic time since when the fleet was well, the commits of the Flink job apart; None when it was not
            quiet within the deadline.
        """
        deadline = time.monotonic() + self._options.deadline_seconds
        told = time.monotonic()
        well_at = None
        while True:
            try:
                pending = _pending(self._stage.fleet, ids)
                if pending:
                    # A provider that answers nobody is unavailable, and a question waits for it without losing a retry.
                    self._stage.fleet.ask(f"Is anybody else there? ({uuid.uuid4().hex})")
                unmet, uncommitted = _unmet(self._stage.fleet, pending)
            except (AssertionError, *AWAY) as error:
                unmet, uncommitted = [repr(error)], 0
            now = time.monotonic()
            well_at = None if unmet else well_at or now
            if well_at and not uncommitted:
                return well_at
            if now > deadline:
                self._tell(f"not quiet: {'; '.join(unmet) or f'the job has not committed {uncommitted} messages'}")
                return None
            if now - told > 15:
                told = now
                self._tell(f"  still {'; '.join(unmet) or f'{uncommitted} messages without a checkpoint'}")
            time.sleep(LOOK_SECONDS)

    def _account(self, load: Load, before: Mapping[str, tuple[int, str]]) -> Account:
        fleet, ledger = self._stage.fleet, load.ledger
        ids = [entry.question_id for entry in ledger]
        first = _rows(fleet, ids)
        time.sleep(SETTLE_SECONDS)  # in which nothing may change
        second = _rows(fleet, ids)
        after = _digests(fleet)
        # Asking a failed question anew is the one thing that changes a final state.
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
    """Runs a step. Any error is a problem of this drill; the other drills are played all the same."""
    try:
        step()
    except (AssertionError, *AWAY) as error:
        problems.append(" ".join(str(error).split()))
    except Exception as error:
        problems.append(" ".join(f"{type(error).__name__}: {error}".split()))


def _default(mix: Mix) -> Callable[[str], ByAttempt]:
    """Makes the scripts of the drill's questions; whatever else is asked meanwhile gets one text."""
    return lambda text: mix.script_of(text).replies if text.startswith("drill ") else untold(text)


def _pending(fleet: Fleet, ids: Collection[str]) -> int:
    statement = "SELECT count(*) AS n FROM questions WHERE status = 'pending' AND question_id = ANY(%s)"
    return int(fleet.sql(statement, list(ids))[0]["n"])


def _unmet(fleet: Fleet, pending: int) -> tuple[list[str], int]:
    """Returns what is left to do, and the lag of the Flink job's group."""
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
    """Returns the questions that had their final state at a time."""
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
    """Returns how many questions storage-writer found lost and published again since a time."""
    [writer] = stage.containers("storage-writer")
    return writer.logs(since=since).decode(errors="replace").count("found a lost question")


def _p95_seconds(fleet: Fleet, ids: Collection[str]) -> float | None:
    """Returns in which time 95 % of the questions were final; None when none is."""
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
    """Returns how often each final question was asked, and a digest of its rows but for their timestamps."""
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
    """Reads what PostgreSQL says about questions."""
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
        error = errors.get(id, {"attempt": 0, "retry": 0})
        found[id] = Row(
            status=row["status"],
            quality=row["quality"],
            reason=row["reason"],
            generations=max(row["processing_attempts"] or 0, len(attempts.get(id, ())), error["attempt"]),
            retries=max(row["retry_count"] or 0, error["retry"]),
            kept=row["llm_response"],
            kept_score=row["bert_score"],
            attempts=tuple(attempts.get(id, ())),
        )
    return found


def _errors(fleet: Fleet, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the highest attempt and retry among the failed calls of each question."""
    return fleet.sql(
        """
        SELECT question_id, max(attempt) AS attempt, max(retry) AS retry FROM call_errors
        WHERE question_id = ANY(%s) GROUP BY question_id
        """,
        list(ids),
    )
