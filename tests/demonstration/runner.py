"""Runs the commands of a document in the tests' container as they run on the host."""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.demonstration.document import Step

ROOT = Path(__file__).parents[2]

PUBLISHED = (5001, 5002, 8080, 8081)
"""Ports that are published at `localhost` on the host and belong to `reverse-proxy` in the fleet's network."""

COMMAND_SECONDS = 300.0
UNTIL_SECONDS = 600.0
"""Time limit of `until`: a new fleet first answers its own 20 questions, for minutes on a small machine."""
UNTIL_INTERVAL_SECONDS = 2.0


class StepFailed(Exception):
    """A command failed or its output lacks the expected text; the message contains the output."""


class Runner:
    """Runs steps in the folder of the repository."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Takes the environment of the commands."""
        # curl connects to the fleet instead of `localhost`, so that commands run unchanged.
        self._curl_home = tempfile.TemporaryDirectory()
        lines = [f'connect-to = "localhost:{port}:reverse-proxy:{port}"\n' for port in PUBLISHED]
        (Path(self._curl_home.name) / ".curlrc").write_text("".join(lines))
        self._environment = {**environment, "CURL_HOME": self._curl_home.name}

    def run(self, step: Step) -> str:
        """Runs a step and returns its output, including errors.

        Raises:
            StepFailed: The command failed, or its output lacks the expected text.
        """
        deadline = time.monotonic() + UNTIL_SECONDS
        while True:
            output = self._once(step.command)
            if step.shows and step.shows not in output:
                raise StepFailed(f"{step.shows!r} is not in what {step.command!r} printed:\n{output}")
            if step.until is None or step.until in output:
                return output
            if time.monotonic() > deadline:
                raise StepFailed(f"{step.command!r} did not print {step.until!r} within {UNTIL_SECONDS} s:\n{output}")
            time.sleep(UNTIL_INTERVAL_SECONDS)

    def close(self) -> None:
        """Deletes the temporary folder."""
        self._curl_home.cleanup()

    def _once(self, command: str) -> str:
        try:
            result = subprocess.run(
                ["bash", "-e", "-c", command],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise StepFailed(f"{command!r} took longer than {COMMAND_SECONDS} s") from error
        output = result.stdout.decode(errors="replace")
        if result.returncode:
            raise StepFailed(f"{command!r} ended with status {result.returncode}:\n{output}")
        return output
