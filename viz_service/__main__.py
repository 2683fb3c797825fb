"""viz-service: the dashboard."""

from collections.abc import Sequence

from pipeline import command, server
from viz_service import assets
from viz_service.app import SERVICE, create_app
from viz_service.settings import VizSettings

PORT = 5002
"""Port of the pages in the container; the reverse proxy publishes it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM."""
    settings = command.start(SERVICE, VizSettings, _check, arguments)
    server.serve(lambda: create_app(settings), PORT, settings.viz_threads)


def _check(settings: VizSettings) -> str:
    create_app(settings)
    return f"threshold {settings.quality_threshold}, charts by {assets.plotly()}"


if __name__ == "__main__":
    main()
