"""Start of each service: the same command line, settings and logs for all."""

import argparse
import faulthandler
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from pipeline import logs
from pipeline.settings import Settings, load

S = TypeVar("S", bound=Settings)


def start(
    name: str, kind: type[S], check: Callable[[S], str] | None = None, arguments: Sequence[str] | None = None
) -> S:
    """Reads the settings and sets up logs. With `--check` the process verifies that it could start, and ends here.

    Args:
        name: Name of the service, in logs and messages.
        kind: Class of its settings.
        check: Verifies more than imports and settings; returns a few words about the result.
        arguments: Command line; None: that of the process.

    Returns:
        The settings.

    Raises:
        SystemExit: 0 after `--check` or `--help`; 2 for a wrong option or setting.
    """
    parser = argparse.ArgumentParser(description=f"Run {name}. Settings are environment variables: docs/settings.md.")
    parser.add_argument("--check", action="store_true", help="verify imports and settings, and exit")
    options = parser.parse_args(arguments)
    settings = load(kind)
    logs.configure(name, settings)
    if options.check:
        found = check(settings) if check else ""
        print(f"{name}: all well{', ' if found else ''}{found}")
        sys.exit(0)
    # Writes the stacks of all threads: docs/debugging.md.
    faulthandler.register(signal.SIGUSR1, sys.__stderr__ or sys.stderr)
    return settings
