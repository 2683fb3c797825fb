import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import command
from pipeline.settings import EXIT_USAGE, KafkaSettings

ROOT = Path(__file__).parents[3]


def test_start_returns_the_settings(monkeypatch):
    monkeypatch.setenv("POISON_LIMIT", "7")
    assert command.start("some-service", KafkaSettings, arguments=[]).poison_limit == 7


@pytest.mark.parametrize(
    ("check", "printed"),
    [
        (None, "some-service: all well\n"),
        (lambda found: f"limit {found.poison_limit}", "some-service: all well, limit 100\n"),
    ],
)
def test_check_prints_one_line_on_success(capsys, check, printed):
    with pytest.raises(SystemExit, match="0"):
        command.start("some-service", KafkaSettings, check, ["--check"])
    assert capsys.readouterr().out == printed


def test_an_invalid_setting_is_named(monkeypatch, capsys):
    monkeypatch.setenv("POISON_LIMIT", "many")
    with pytest.raises(SystemExit, match=str(EXIT_USAGE)):
        command.start("some-service", KafkaSettings, arguments=["--check"])
    assert capsys.readouterr().err.startswith("POISON_LIMIT: ")


def test_an_unknown_option_is_named(capsys):
    with pytest.raises(SystemExit, match=str(EXIT_USAGE)):
        command.start("some-service", KafkaSettings, arguments=["--chekc"])
    assert "--chekc" in capsys.readouterr().err


def test_help_names_the_document_of_the_settings(capsys):
    with pytest.raises(SystemExit, match="0"):
        command.start("some-service", KafkaSettings, arguments=["--help"])
    assert "docs/settings.md" in capsys.readouterr().out


def test_sigusr1_writes_the_stacks_of_all_threads():
    program = """
import os, signal, threading, time
from pipeline import command
from pipeline.settings import KafkaSettings

def waits_for_nothing():
    threading.Event().wait(30)

command.start("some-service", KafkaSettings, arguments=[])
threading.Thread(target=waits_for_nothing, daemon=True).start()
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "waits_for_nothing" in done.stderr
