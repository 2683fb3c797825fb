"""The ledger of a drill: promised answers compared with the final states of their questions. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from pipeline.messages import MAX_RETRIES
from tests.drills.scripts import Script

MAX_GENERATIONS = 3
FINAL = ("completed", "failed")


@dataclass(frozen=True)
class Entry:
    """A promise of the fleet: a 202, or a 200 if the answer was already there.

    Attributes:
        question_id: Question id in the reply.
        text: Text of the question.
        asked_at: Time of the reply.
        script: Script of the provider for the question.
    """

    question_id: str
    text: str
    asked_at: datetime
    script: Script


@dataclass(frozen=True)
class Scored:
    """One row of `attempts`."""

    attempt: int
    text: str
    score: Decimal | None


@dataclass(frozen=True)
class Row:
    """State of a question in PostgreSQL.

    Attributes:
        status: Status of the question.
        quality: Quality of the kept answer; None without an answer.
        reason: Reason of the failure; None without a failure.
        generations: Highest number of a generation in any of its rows.
        retries: Highest number of error retries of one generation in any of its rows.
        kept: Text of the kept answer.
        kept_score: Score of the kept answer.
        attempts: All scored generations, by number.
        waits: Number of failed calls that used up no retry, because the provider answered nobody at that time.
    """

    status: str
    quality: str | None = None
    reason: str | None = None
    generations: int = 0
    retries: int = 0
    kept: str | None = None
    kept_score: Decimal | None = None
    attempts: tuple[Scored, ...] = ()
    waits: int = 0

    @property
    def final(self) -> bool:
        """Whether the status is final."""
        return self.status in FINAL


@dataclass(frozen=True)
class Account:
    """Result of the comparison. The lists hold question ids and are empty if every promise was kept.

    Attributes:
        asked: Number of promises.
        completed: Number of questions that ended as `completed`.
        failed_as_scripted: Number of questions that ended as `failed` by their script.
        lost: Questions without a final state.
        doubled: Questions with two final states, or with one that changed between two readings.
        unexpected: Questions whose final state, quality, reason or number of generations differs from the script.
        wrong_answer: Questions whose kept answer is not the best scored one (the first of equals).
        over_limit: Questions that took more generations or error retries than the rules or the script allow.
        extra_calls: Calls of the provider beyond those of the script, by question id and attempt.
    """

    asked: int
    completed: int = 0
    failed_as_scripted: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong_answer: list[str] = field(default_factory=list)
    over_limit: list[str] = field(default_factory=list)
    extra_calls: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def extra(self) -> int:
        """Total number of extra calls."""
        return sum(self.extra_calls.values())

    def kept(self, allowed_extra: int) -> bool:
        """Returns whether every promise was kept with at most `allowed_extra` extra calls."""
        broken = (self.lost, self.doubled, self.unexpected, self.wrong_answer, self.over_limit)
        return not any(broken) and self.extra <= allowed_extra


def reconcile(
    ledger: Sequence[Entry],
    first: Mapping[str, Row],
    second: Mapping[str, Row],
    calls: Mapping[tuple[str, int], int],
    changed: Collection[str] = (),
) -> Account:
    """Compares the promises with the final states of their questions.

    Args:
        ledger: The promises; several with the same id (after a retry of the client) count as one.
        first: Rows by question id when the fleet is quiet.
        second: The same rows some seconds later.
        calls: Calls that the provider counted, by question id and attempt.
        changed: Questions, in the ledger or not, whose final rows changed during the drill.
    """
    entries = {entry.question_id: entry for entry in ledger}
    account = Account(asked=len(entries))
    account.doubled.extend(sorted(set(changed) - set(entries)))
    completed = failed = 0
    highest: dict[str, int] = {}
    for id, attempt in calls:
        highest[id] = max(attempt, highest.get(id, 0))
    for id, entry in entries.items():
        row, again = first.get(id), second.get(id)
        if row is None or not row.final:
            account.lost.append(id)
        elif again != row or id in changed or (row.quality is not None and row.reason is not None):
            account.doubled.append(id)
        if row is not None and row.final:
            as_scripted = _as_scripted(row, entry.script)
            completed += row.status == "completed"
            failed += row.status == "failed" and as_scripted
            if not as_scripted:
                account.unexpected.append(id)
            if not keeps_best(row):
                account.wrong_answer.append(id)
        if _is_over_limit(row, entry.script, highest.get(id, 0)):
            account.over_limit.append(id)
    for (id, attempt), count in calls.items():
        if id in entries and (extra := count - _needed(entries[id].script, attempt, first.get(id))) > 0:
            account.extra_calls[id, attempt] = extra
    return Account(**{**vars(account), "completed": completed, "failed_as_scripted": failed})


def keeps_best(row: Row) -> bool:
    """Returns whether the kept answer is the best scored one, or the first of equals."""
    scored = [each for each in row.attempts if each.score is not None]
    if row.kept is None or not scored:
        return True
    best = max(scored, key=lambda each: (each.score or 0, -each.attempt))
    return (row.kept, row.kept_score) == (best.text, best.score)


def _as_scripted(row: Row, script: Script) -> bool:
    why = row.quality if row.status == "completed" else row.reason
    if (row.status, why) != (script.status, script.why):
        return False
    # Every generation of a completed question has a score; a failed question may have generations without one.
    return row.status == "failed" or len(row.attempts) == row.generations == script.generations


def _needed(script: Script, attempt: int, row: Row | None) -> int:
    """Returns the number of calls of an attempt. A call that used up no retry is needed again if all calls fail."""
    always_fails = script.why == "retries_exhausted"
    return script.calls(attempt) + (row.waits if row and always_fails else 0)


def _is_over_limit(row: Row | None, script: Script, highest_call: int) -> bool:
    generations = max(row.generations if row else 0, highest_call)
    return generations > min(MAX_GENERATIONS, script.generations) or (row is not None and row.retries > MAX_RETRIES)
