"""The ledger as a table on the terminal and as a document. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.table import Table

from tests.drills.ledger import Account

COLUMNS = (
    "fault",
    "questions",
    "completed",
    "failed as scripted",
    "lost",
    "doubled",
    "over limit",
    "unexpected",
    "found lost",
    "extra calls",
    "allowed",
    "p95 (s)",
    "recovered (s)",
    "played (UTC)",
)

_NOTES = """\
- Questions: a client asks at a steady rate and records each `202`, the promise of an answer, in its own ledger. A
  scripted provider answers (good, poor or no answer, overload, rate limit, …) and counts its calls.
- Lost: questions without a final state when the fleet is quiet. Doubled: questions of the drill, or older ones, with
  two final states or a changed one. Over limit: questions with more generations or error retries than the rules or the
  script allow. Unexpected: questions whose result differs from the script, whose kept answer is not the best, or that
  were refused for good.
- Found lost: pending questions whose message was in no topic, so that storage-writer published them again.
- Extra calls: calls of the provider beyond those of the scripts and beyond errors that used up no retry, because the
  provider answered nobody at that time. Allowed: the highest number of calls in flight while the fault lasted (none
  after SIGTERM; for the stores once for each of the three). If messages are lost, earlier calls of questions that were
  not final yet are allowed too, because their answers may have been lost; after a power cut also those of final ones,
  because committed offsets may have been lost.
- p95: time from storing a question to its final state, within which 95 % of the questions had it.
- Recovered: seconds from the end of the (last) fault, while questions are still asked, until no question of the drill
  is pending, the outbox is empty, the Flink job runs with all of its tasks and every consumer group has lag 0. The time
  includes waits for retries (up to 14 s, after a quota error 60 s), but not the last commit of the Flink job, which
  commits with its checkpoints, one each 30 s.
"""


@dataclass(frozen=True)
class Result:
    """Result of a drill.

    Attributes:
        fault: Name of the fault.
        account: Result of the comparison with the ledger.
        allowed: Number of extra calls that are allowed.
        recovered_seconds: Time from the end of the fault until the fleet was quiet; None if the deadline passed before.
        problems: Other problems, one line each.
        found_lost: Number of questions whose message was lost and that were published again.
        p95_seconds: Time in which 95 % of the questions got their final state.
        strikes: Names of the faults in the order of time.
        memory: Memory of each service in MB, at each fault and at the end; empty for a short drill.
        played_at: When it ended.
    """

    fault: str
    account: Account
    allowed: int
    recovered_seconds: float | None
    problems: Sequence[str] = ()
    found_lost: int = 0
    p95_seconds: float | None = None
    strikes: Sequence[str] = ()
    memory: Sequence[Mapping[str, float]] = ()
    played_at: datetime | None = None

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return self.account.kept(self.allowed) and self.recovered_seconds is not None and not self.problems

    def cells(self) -> list[str]:
        """Returns the values of `COLUMNS`."""
        account = self.account
        numbers = (
            account.asked,
            account.completed,
            account.failed_as_scripted,
            len(account.lost),
            len(account.doubled),
            len(account.over_limit),
            len({*account.unexpected, *account.wrong_answer}) + len(self.problems),
            self.found_lost,
            account.extra,
            self.allowed,
        )
        p95 = "" if self.p95_seconds is None else f"{self.p95_seconds:.0f}"
        recovered = "never" if self.recovered_seconds is None else f"{self.recovered_seconds:.0f}"
        played = "" if self.played_at is None else f"{self.played_at:%Y-%m-%d %H:%M}"
        return [self.fault, *map(str, numbers), p95, recovered, played]


@dataclass(frozen=True)
class About:
    """Conditions of the drills in a ledger.

    Attributes:
        rate: Questions per second.
        seconds: How long each drill asks questions.
        seed: Seed of the scripts.
        cores: Cores of the machine.
        memory_bytes: Memory of the machine.
    """

    rate: float
    seconds: float
    seed: int
    cores: int
    memory_bytes: int

    def line(self) -> str:
        """Returns the conditions as one sentence."""
        return (
            f"Each drill asks {self.rate:g} questions/s for {self.seconds:g} s, seed {self.seed}, on a machine with "
            f"{self.cores} cores and {self.memory_bytes / 2**30:.1f} GiB of memory."
        )


def table(results: Sequence[Result]) -> Table:
    """Returns the results for a terminal."""
    shown = Table(*COLUMNS)
    for each in results:
        shown.add_row(*each.cells(), style=None if each.passed else "red")
    return shown


def markdown(results: Sequence[Result], about: About, before: str = "", order: Sequence[str] = ()) -> str:
    """Returns the results as the document `docs/ledger.md`.

    Args:
        results: The drills that were played.
        about: Their conditions.
        before: The document until now. Its drills are kept unless they were played again; all are dropped if the
            conditions have changed.
        order: Names of all drills, in the order of the rows.
    """
    played = [each.fault for each in results]
    rows, broken = _kept(before, set(order) - set(played)) if about.line() in before else ({}, {})
    rows |= {each.fault: "| " + " | ".join(each.cells()) + " |" for each in results}
    broken |= {each.fault: [f"- {each.fault}: {problem}" for problem in explain(each)] for each in results}
    names = sorted(rows, key=[*order, *played].index)
    lines = [
        "# Ledger",
        "",
        "What became of questions that were asked while a part of the fleet broke. Written by `make drill` and",
        "`make soak`.",
        "",
        about.line(),
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "| --- |" + " ---: |" * (len(COLUMNS) - 1),
        *(rows[name] for name in names),
        "",
        _NOTES,
        *(line for each in results if each.memory for line in _course(each)),
    ]
    if any(broken.values()):
        lines += ["## Broken promises", "", *(line for name in names for line in broken.get(name, [])), ""]
    return "\n".join(lines)


def _kept(document: str, names: Collection[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Returns the row and the lines of broken promises of each of these drills that the document has."""
    rows: dict[str, str] = {}
    broken: dict[str, list[str]] = {}
    for line in document.splitlines():
        if line.startswith("| ") and (name := line[2:].split(" |")[0]) in names:
            rows[name] = line
        elif line.startswith("- ") and (name := line[2:].split(":")[0]) in names:
            broken.setdefault(name, []).append(line)
    return rows, broken


def _course(result: Result) -> list[str]:
    """Returns the faults of a soak and the memory of the services."""
    faults = Counter(result.strikes)
    services = sorted({service for sample in result.memory for service in sample})
    rows = []
    for service in services:
        series = [sample[service] for sample in result.memory if service in sample]
        half = len(series) // 2
        figures = (series[0], max(series[:half] or series), max(series[half:]), series[-1])
        rows.append(f"| {service} | " + " | ".join(f"{each:.0f}" for each in figures) + " |")
    return [
        f"## Faults of {result.fault}",
        "",
        "One each minute, in this order: " + ", ".join(result.strikes) + ".",
        "",
        f"{len(faults)} different ones, at most {max(faults.values())} times each.",
        "",
        "## Memory",
        "",
        "MB, the page cache apart, of one container of each service that ran at that time.",
        "",
        "| service | first minute | most, first half | most, second half | end |",
        "| --- | ---: | ---: | ---: | ---: |",
        *rows,
        "",
    ]


def explain(result: Result, most: int = 5) -> list[str]:
    """Returns the problems of a drill, one line each, with the first few question ids; empty if it passed."""
    account = result.account
    lines = list(result.problems)
    for name in ("lost", "doubled", "over_limit", "unexpected", "wrong_answer"):
        if ids := getattr(account, name):
            lines.append(f"{len(ids)} {name.replace('_', ' ')}: {', '.join(ids[:most])}{' …' * (len(ids) > most)}")
    if account.extra > result.allowed:
        which = [f"{id}/{attempt}" for id, attempt in sorted(account.extra_calls)]
        lines.append(
            f"{account.extra} extra calls where {result.allowed} are allowed, of question/attempt "
            f"{', '.join(which[:most])}{' …' * (len(which) > most)}"
        )
    if result.recovered_seconds is None:
        lines.append("the fleet was not quiet within the deadline")
    return lines
