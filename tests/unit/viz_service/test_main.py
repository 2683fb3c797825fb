"""The command line `python -m viz_service`."""

import pytest

from pipeline.settings import EXIT_USAGE
from viz_service import __main__


def test_check_works_without_a_database(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        __main__.main(["--check"])
    assert "all well" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUALITY_THRESHOLD", "1.5"),
        ("VIZ_REFRESH_SECONDS", "0"),
        ("VIZ_THREADS", "many"),
        ("STORAGE_URL", "storage-service"),
        ("MAX_ATTEMPTS", "0"),
    ],
)
def test_an_invalid_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        __main__.main(["--check"])
    assert stopped.value.code == EXIT_USAGE
    assert capsys.readouterr().err.startswith(f"{name}: ")
