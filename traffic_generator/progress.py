"""Shows the counts during a run: a bar on a terminal, otherwise a line every 5 s, or nothing."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.text import Text

from traffic_generator.report import Tally

LINE_SECONDS = 5.0

Show = Callable[[Tally], None]


@contextmanager
def showing(console: Console, *, wait: bool, quiet: bool) -> Iterator[Show]:
    """Yields a function that shows a tally on `console`; call it often, it limits its output itself.

    Args:
        console: The output: a bar if it is a terminal, else a line every 5 s and one at the end.
        wait: Whether pending questions are followed; otherwise the bar counts them as done.
        quiet: Show nothing.
    """
    if quiet:
        yield lambda tally: None
    elif console.is_terminal:
        with _bar(console, wait) as show:
            yield show
    else:
        with _lines(console) as show:
            yield show


class _CountsOverBar(Progress):
    """Shows a task in two rows, because counts and bar do not fit into 80 columns."""

    def get_renderables(self) -> Iterator[RenderableType]:
        for task in self.tasks:
            yield Text(task.description)
            yield self.make_tasks_table([task])


@contextmanager
def _bar(console: Console, wait: bool) -> Iterator[Show]:
    with _CountsOverBar(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("", total=None)

        def show(tally: Tally) -> None:
            done = tally.settled if wait else tally.settled + tally.pending
            progress.update(task, total=tally.requested, completed=done, description=tally.line())

        yield show


@contextmanager
def _lines(console: Console, clock: Callable[[], float] = time.monotonic) -> Iterator[Show]:
    shown_at = clock()
    latest, shown = "", ""

    def show(tally: Tally) -> None:
        nonlocal shown_at, latest, shown
        latest = tally.line()
        if latest != shown and clock() - shown_at >= LINE_SECONDS:
            shown_at, shown = clock(), latest
            console.print(latest, highlight=False)

    yield show
    if latest != shown:
        console.print(latest, highlight=False)
