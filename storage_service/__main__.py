"""`python -m storage_service` serves; with `--check` it only verifies imports and settings."""

import argparse
import os
import sys
from pathlib import Path

from pipeline.settings import load
from storage_service import app
from storage_service.settings import StorageSettings


def main() -> None:
    """Hands the process over to gunicorn, so that it is the one to get SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m storage_service", description=__doc__)
    parser.add_argument("--check", action="store_true", help="verify imports and settings, and exit")
    arguments = parser.parse_args()
    settings = load(StorageSettings)
    if arguments.check:
        print(f"{app.SERVICE}: all well, port {settings.http_port}, {settings.http_threads} threads")
        return
    config = Path(__file__).with_name("gunicorn.conf.py")
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--config", str(config)])


if __name__ == "__main__":
    main()
