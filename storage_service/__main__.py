"""storage-service: the REST API."""

from pipeline import command, server
from storage_service.app import SERVICE, create_app
from storage_service.settings import StorageSettings

PORT = 5001
"""Port of the API in the container; the reverse proxy publishes it."""


def main() -> None:
    """Serves until SIGTERM."""
    settings = command.start(SERVICE, StorageSettings, _check)
    server.serve(lambda: create_app(settings), PORT, settings.http_threads)


def _check(settings: StorageSettings) -> str:
    return f"port {PORT}, {settings.http_threads} threads"


if __name__ == "__main__":
    main()
