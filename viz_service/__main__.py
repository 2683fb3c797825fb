"""`python -m viz_service` serves the dashboard; with `--check` it verifies imports, settings and files, and exits."""

import argparse
import os
from pathlib import Path

from pipeline.settings import load
from viz_service import assets
from viz_service.app import create_app
from viz_service.settings import VizSettings

CONFIG = Path(__file__).parent / "gunicorn.conf.py"


def main(arguments: list[str] | None = None) -> None:
    """Checks or serves."""
    parser = argparse.ArgumentParser(prog="python -m viz_service", description="The dashboard service.")
    parser.add_argument("--check", action="store_true", help="verify imports, settings and files, and exit")
    options = parser.parse_args(arguments)
    settings = load(VizSettings)
    if options.check:
        create_app(settings)
        print(f"viz-service: all well, threshold {settings.quality_threshold}, charts by {assets.plotly()}")
        return
    # Gunicorn takes over this process, so that it gets SIGTERM itself.
    os.execvp("gunicorn", ["gunicorn", "--config", str(CONFIG)])


if __name__ == "__main__":
    main()
