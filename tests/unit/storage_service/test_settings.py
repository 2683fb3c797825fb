import subprocess
import sys

import pytest
from pydantic import ValidationError

from storage_service.settings import StorageSettings


@pytest.mark.parametrize("threads", [2, 3, 64, 512])
def test_waiting_requests_leave_at_least_one_thread_free(monkeypatch, threads):
    monkeypatch.setenv("HTTP_THREADS", str(threads))
    assert 0 < StorageSettings().max_waiting < threads


def test_check_works_without_dependencies():
    done = subprocess.run([sys.executable, "-m", "storage_service", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "all well" in done.stdout


def test_an_outbox_limit_of_zero_is_rejected(monkeypatch):
    assert StorageSettings().outbox_limit == 10_000
    monkeypatch.setenv("OUTBOX_LIMIT", "0")
    with pytest.raises(ValidationError, match="outbox_limit"):
        StorageSettings()
