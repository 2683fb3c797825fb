"""Checks that Linux on arm64 can install every requirements file: python wheels.py FOLDER REPORT.

It runs while the image of the tests is built, because containers of the tests cannot reach an index. Nothing is
installed and no wheel is downloaded: uv resolves for another platform from the metadata in the index. The report has an
entry for each file below FOLDER and for each package without a wheel: `""`, or the reason of the failure.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FROM_SOURCE = ("apache-flink", "crcmod", "dill", "docopt", "hdfs")
"""Packages without a wheel. The first has none for Linux on arm64 and is compiled (flink_job/Dockerfile); the others
have none for any platform and need no compiler."""

_MACHINE = ("--python-platform", "aarch64-manylinux_2_36", "--python-version", "3.11")
"""Versions of the C library of Debian 12 and of Python."""
_INDEX = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "cert": "SSL_CERT_FILE"}
"""pip's settings of the package index, and their names in uv."""
_SECONDS = 100


def resolve(requirements: str, options: Sequence[str], environment: Mapping[str, str]) -> str:
    """Returns an empty text if all requirements can be installed, otherwise the error."""
    command = ["uv", "--no-config", "pip", "compile", "--quiet", "--only-binary", ":all:", *_MACHINE, *options, "-"]
    try:
        result = subprocess.run(
            command, input=requirements, capture_output=True, text=True, timeout=_SECONDS, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if result.returncode == 0 else result.stderr


def pip_setting(name: str) -> str:
    """Returns a setting of pip; empty if it is not set."""
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def report(folder: Path) -> dict[str, str]:
    """Resolves every requirements file below a folder."""
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
