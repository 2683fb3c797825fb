"""Looks whether Linux on arm64 can install every file of requirements: python wheels.py FOLDER REPORT.

It runs while the image of the tests is built, for their containers reach no index. Nothing is installed, and no wheel
is downloaded: uv resolves for another machine than its own by what the index tells of each package. The report has a
line for each file below FOLDER, and one for each package that has no wheel there: `""`, or why not.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FROM_SOURCE = ("apache-flink", "crcmod", "dill", "docopt", "hdfs")
"""The first has no wheel for Linux on arm64 and is compiled (flink_job/Dockerfile); the others have none at all and
need no compiler."""

_MACHINE = ("--python-platform", "aarch64-manylinux_2_36", "--python-version", "3.11")
"""Debian 12's C library, and its Python."""
_INDEX = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "cert": "SSL_CERT_FILE"}
"""Settings of pip that say where packages are found here, and what uv calls them."""
_SECONDS = 100


def resolve(requirements: str, options: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return an empty text when all of them can be installed, otherwise why not."""
    command = ["uv", "--no-config", "pip", "compile", "--quiet", "--only-binary", ":all:", *_MACHINE, *options, "-"]
    try:
        result = subprocess.run(
            command, input=requirements, capture_output=True, text=True, timeout=_SECONDS, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if result.returncode == 0 else result.stderr


def pip_setting(name: str) -> str:
    """Return a setting of pip; empty if there is none."""
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def report(folder: Path) -> dict[str, str]:
    """Resolve every file of requirements below a folder."""
    environment = os.environ | {uv: value for pip, uv in _INDEX.items() if (value := pip_setting(pip))}
    texts = {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("requirements*.txt"))}
    source = [option for name in FROM_SOURCE for option in ("--no-binary", name)]
    jobs = {name: (text, ["--no-deps"] if "no-deps" in name else source) for name, text in texts.items()}
    lines = {line.removesuffix(" \\") for text in texts.values() for line in text.splitlines()}
    pins = {line for line in lines if line.partition("==")[0] in FROM_SOURCE}
    jobs |= {pin: (pin, ["--no-deps"]) for pin in sorted(pins)}
    with ThreadPoolExecutor(4) as pool:
        outcomes = pool.map(lambda job: resolve(job[0], job[1], environment), jobs.values())
        return dict(zip(jobs, outcomes, strict=True))


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(report(Path(sys.argv[1])), indent=1))
