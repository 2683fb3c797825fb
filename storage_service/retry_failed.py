"""The command line: `python -m storage_service.retry_failed --reason retries_exhausted --dry-run`.

It uses the API like any other client, so it has the guarantees of the API. The questions are listed before the first
retry, so a question that fails again is not retried for ever. While the service replies 503, it waits for
`Retry-After`; after `MAX_TRIES` for one question it gives up the remaining ones.
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, get_args

import click
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from pipeline.api_client import ApiClient, QuestionState, RequestFailed
from pipeline.messages import Reason
from pipeline.shutdown import stop_on_signal
from storage_service.schemas import MAX_PAGE, FailedFilter, FailedPage, FailedQuestion

EXIT_FAILURES = 1

REPLY_TIMEOUT_SECONDS = 15
MAX_TRIES = 5
"""Maximum number of requests for one question while the service is unavailable."""
RETRY_SECONDS = 5.0
"""Wait between these requests, unless the service sends `Retry-After`."""

Outcome = Literal["restarted", "no longer failed", "unknown"]


class Api(Protocol):
    """The part of `ApiClient` that the command uses."""

    def get(self, path: str, kind: type[FailedPage], params: Mapping[str, Any], /) -> FailedPage:
        """See `ApiClient.get`."""

    def retry(self, question_id: str, /) -> QuestionState:
        """See `ApiClient.retry`."""


@dataclass
class Report:
    """Results of the retries.

    Attributes:
        found: Number of questions to retry.
        outcomes: Number of questions by outcome.
        problems: Number of questions that could not be retried, by error.
        stopped: Why the remaining questions were not tried; empty when all were tried.
    """

    found: int
    outcomes: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    stopped: str = ""

    @property
    def done(self) -> int:
        """Number of questions that were tried."""
        return self.outcomes.total()

    @property
    def ok(self) -> bool:
        """Whether all questions were retried without an error."""
        return not self.problems and self.done == self.found

    def rows(self) -> list[tuple[str, int]]:
        """Returns the names and values of the summary."""
        named = [(name, self.outcomes[name]) for name in (*get_args(Outcome), "error")]
        return [("found", self.found), *named, ("not tried", self.found - self.done)]


def find(api: Api, wanted: FailedFilter, most: int | None) -> list[FailedQuestion]:
    """Lists failed questions, page by page.

    Args:
        api: The endpoints.
        wanted: Filter; its `until` excludes questions that fail later, which would shift the pages.
        most: Maximum number of questions, the newest first; None: all.

    Raises:
        RequestFailed: A page could not be read.
    """
    found: dict[str, FailedQuestion] = {}
    offset = 0
    while most is None or len(found) < most:
        query = wanted.model_copy(update={"limit": MAX_PAGE, "offset": offset})
        page = api.get("/failed", FailedPage, query.model_dump(mode="json", exclude_none=True)).failed
        found |= {each.question_id: each for each in page}
        offset += len(page)
        if len(page) < MAX_PAGE:
            break
    return list(found.values())[:most]


def retry_all(
    api: Api,
    questions: list[FailedQuestion],
    rate: float,
    stop: threading.Event,
    show_progress: Callable[[Report], None],
) -> Report:
    """Retries questions one after the other, the oldest first.

    When the service stays unavailable for one of them, the remaining ones are not tried.

    Args:
        api: The endpoints.
        questions: The questions, the newest first.
        rate: Maximum number of retries a second.
        stop: Ends the retries early.
        show_progress: Called with the report after each retry.
    """
    report = Report(len(questions))
    due = time.monotonic()
    for question in reversed(questions):
        if stop.wait(max(0, due - time.monotonic())):
            report.stopped = "stopped before the end"
            break
        due = max(due + 1 / rate, time.monotonic())
        try:
            outcome = _retry(api, question.question_id, stop)
        except RequestFailed as error:
            report.outcomes["error"] += 1
            report.problems[str(error)] += 1
            if error.unavailable:
                report.stopped = "stopped before the end" if stop.is_set() else f"gave up: {error}"
                break
        else:
            report.outcomes[outcome] += 1
            if outcome == "unknown":
                report.problems["404 the question is gone"] += 1
        show_progress(report)
    return report


def _retry(api: Api, question_id: str, stop: threading.Event) -> Outcome:
    for tries_left in reversed(range(MAX_TRIES)):
        try:
            return "restarted" if api.retry(question_id).status == "pending" else "no longer failed"
        except RequestFailed as error:
            if error.status == 404:
                return "unknown"
            seconds = RETRY_SECONDS if error.retry_after_seconds is None else error.retry_after_seconds
            if not error.unavailable or not tries_left or stop.wait(seconds):
                raise
    raise AssertionError("the last try returns or raises")


def line_of(question: FailedQuestion) -> str:
    """Returns a question in one line."""
    fields = (question.question_id, f"{question.failed_at:%Y-%m-%dT%H:%M:%SZ}", question.reason, question.question_text)
    line = "  ".join(" ".join(text.split()) for text in fields)
    # Control characters could change the terminal, and the text may come from anybody.
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


@contextmanager
def _showing(console: Console, total: int) -> Iterator[Callable[[Report], None]]:
    columns = ("retried", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total)
        yield lambda report: progress.update(task, completed=report.done)


def _print_table(report: Report) -> None:
    console = Console()
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, count in report.rows():
        table.add_row(name, str(count))
    console.print(table)
    remarks = [f"{count} x {problem}" for problem, count in report.problems.most_common(5)]
    for remark in [*remarks, report.stopped]:
        if remark:
            console.print(remark, markup=False, highlight=False, soft_wrap=True)


def _moment(_context: click.Context, _parameter: click.Parameter, value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=value.tzinfo or UTC) if value else None


_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"])


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--reason", type=click.Choice(get_args(Reason)), help="Only questions that failed for this reason.")
@click.option("--text", help="Only questions that contain this text (case-insensitive).")
@click.option(
    "--since", type=_MOMENT, callback=_moment, help="Only questions that failed then or later (UTC by default)."
)
@click.option(
    "--until",
    type=_MOMENT,
    callback=_moment,
    show_default="now",
    help="Only questions that failed before this time (UTC by default).",
)
@click.option(
    "--limit", type=click.IntRange(min=1), show_default="all", help="Maximum number; the last failed ones are taken."
)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), default=5.0, help="Maximum number of retries a second."
)
@click.option("--dry-run", is_flag=True, help="Only list the questions that would be retried.")
@click.option("--url", default="http://localhost:5001", help="Address of the storage service.")
def main(
    reason: Reason | None,
    text: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
    rate: float,
    dry_run: bool,
    url: str,
) -> None:
    """Restart failed questions, as asking them again does.

    Progress goes to standard error, the summary to standard output.

    \b
    Examples:
      List the questions that failed since the key of the provider expired:
        python -m storage_service.retry_failed --reason not_retryable --since 2026-01-31T12:00:00Z --dry-run
      Restart them, ten a second:
        python -m storage_service.retry_failed --reason not_retryable --since 2026-01-31T12:00:00Z --rate 10
      Restart questions that waited too long for a provider:
        python -m storage_service.retry_failed --reason patience_exhausted

    \b
    Exit status:
      0  all questions were retried
      1  some could not be retried, or the command was stopped (Ctrl-C, SIGTERM)
      2  wrong usage
    """
    try:
        wanted = FailedFilter(reason=reason, text=text, since=since, until=until or datetime.now(UTC))
    except ValidationError as error:
        wrong = error.errors()[0]
        raise click.UsageError(f"--{wrong['loc'][0]}: {wrong['msg']}") from error
    api = ApiClient(url, REPLY_TIMEOUT_SECONDS)
    try:
        questions = find(api, wanted, limit)
    except RequestFailed as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_FAILURES)
    if dry_run:
        for question in questions:
            click.echo(line_of(question))
        click.echo(f"{len(questions)} would be retried.", err=True)
        return
    with stop_on_signal() as stop, _showing(Console(stderr=True), len(questions)) as show_progress:
        report = retry_all(api, questions, rate, stop, show_progress)
    _print_table(report)
    sys.exit(0 if report.ok else EXIT_FAILURES)


if __name__ == "__main__":
    main()
