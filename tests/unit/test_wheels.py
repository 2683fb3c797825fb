"""Linux on arm64 can install every requirement; tests/wheels.py checks it while the image of the tests is built."""

import json
from pathlib import Path

import pytest

from tests.wheels import FROM_SOURCE, report

ROOT = Path(__file__).parents[2]
REPORT = Path("/opt/wheels.json")
FILES = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*/require*.txt"), *ROOT.glob("*/*/require*.txt"), *ROOT.glob("*/*/*/require*.txt")]
)
in_the_image = pytest.mark.skipif(Path("/app") != ROOT, reason="checked while the image of the tests is built")


def test_the_requirements_files_are_found():
    assert {"flink_job/requirements.txt", "tests/litellm/requirements.txt"} <= set(FILES)


@in_the_image
@pytest.mark.parametrize("name", FILES)
def test_every_requirement_has_a_wheel(name):
    assert json.loads(REPORT.read_text())[name] == ""


@in_the_image
@pytest.mark.parametrize("package", FROM_SOURCE)
def test_packages_built_from_source_have_no_wheel(package):
    """A package that has got a wheel no longer needs its entry in FROM_SOURCE."""
    reasons = [text for name, text in json.loads(REPORT.read_text()).items() if name.startswith(f"{package}==")]
    assert reasons
    assert all(f"{package}==" in text and "no usable wheels" in text for text in reasons)


def test_without_uv_the_report_has_an_error_for_every_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "requirements.txt").write_text("six==1.17.0\ndill==0.3.1.1\n")
    found = report(tmp_path)
    assert list(found) == ["service/requirements.txt", "dill==0.3.1.1"]
    assert all("uv" in reason for reason in found.values())
