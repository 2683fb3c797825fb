"""The dashboard's scripts: tests of their pure parts, by Node's own test runner."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_the_tests_of_the_pure_functions_in_the_scripts_pass():
    tests = sorted(map(str, (ROOT / "tests/javascript").glob("*.test.js")))
    done = subprocess.run(["node", "--test", *tests], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
