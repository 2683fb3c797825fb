import subprocess
import sys

import pytest

from pipeline.settings import load
from storage_service.settings import StorageSettings


def test_waiting_must_leave_threads_free(monkeypatch, capsys):
    monkeypatch.setenv("HTTP_THREADS", "8")
    monkeypatch.setenv("MAX_WAITING", "8")
    with pytest.raises(SystemExit):
        load(StorageSettings)
    assert "HTTP_THREADS" in capsys.readouterr().err


def test_check_needs_no_neighbour():
    done = subprocess.run([sys.executable, "-m", "storage_service", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "all well" in done.stdout
