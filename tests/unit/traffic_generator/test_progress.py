import io

import pytest
from rich.console import Console

from traffic_generator import progress
from traffic_generator.report import Tally


def show_all(*, terminal: bool, quiet: bool = False, wait: bool = False) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=80, color_system=None)
    tally = Tally(requested=1000)
    with progress.showing(console, wait=wait, quiet=quiet) as show:
        for _ in range(1000):
            tally.sent()
            tally.accepted_for_later(0.01)
            show(tally)
    return output.getvalue()


def test_without_a_terminal_one_line_is_printed_per_interval() -> None:
    assert show_all(terminal=False).splitlines() == [
        "asked 1000  cached 0  pending 1000  completed 0  failed 0  errors 0"
    ]


def test_a_line_is_printed_after_each_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    assert len(show_all(terminal=False).splitlines()) == 1000


def test_unchanged_counts_are_not_printed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    output = io.StringIO()
    with progress.showing(Console(file=output, width=80), wait=False, quiet=False) as show:
        for _ in range(5):
            show(Tally(requested=1, asked=1))
    assert output.getvalue().count("asked 1") == 1


def test_a_terminal_shows_a_progress_bar_with_the_counts() -> None:
    shown = show_all(terminal=True)
    assert "pending 1000" in shown
    assert "1000/1000" in shown


def test_with_wait_pending_questions_do_not_advance_the_bar() -> None:
    shown = show_all(terminal=True, wait=True)
    assert "0/1000" in shown
    assert "1000/1000" not in shown


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_shows_nothing(terminal: bool) -> None:
    assert show_all(terminal=terminal, quiet=True) == ""
