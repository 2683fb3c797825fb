"""Fixtures of all unit tests."""

from types import SimpleNamespace

import pytest


@pytest.fixture(autouse=True)
def _no_log_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps a `main` that a test calls from setting up logs for the tests after it."""
    monkeypatch.setattr("pipeline.command.logs", SimpleNamespace(configure=lambda *_: None))
