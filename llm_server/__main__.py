"""The container: loads the model and serves it until SIGTERM."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import structlog

from llm_server.models import MODELS, choose, find
from llm_server.parameters import PORT, apply, parameters
from llm_server.settings import LlmServerSettings
from pipeline import command
from pipeline.settings import EXIT_USAGE
from pipeline.shutdown import stop_on_signal

SERVICE = "llm-server"
FOLDERS = (Path("/models"), Path("/opt/models"))
"""Folders of embedded models: one that a user may mount, and that of the image."""

log = structlog.get_logger()


def model_file(settings: LlmServerSettings, memory_bytes: int, folders: Sequence[Path] = FOLDERS) -> tuple[Path, str]:
    """Returns the path of the model to serve, and its name in replies.

    Args:
        settings: Settings of the service.
        memory_bytes: Memory of the machine.
        folders: Where the embedded models are searched.

    Raises:
        FileNotFoundError: The file of the settings does not exist, or the image has no embedded model.
    """
    if settings.llm_server_model_file:
        path = Path(settings.llm_server_model_file)
        if not path.is_file():
            raise FileNotFoundError(f"LLM_SERVER_MODEL_FILE: there is no file {path}")
        return path, path.stem
    model, small = MODELS[choose(settings.llm_server_model, memory_bytes)], MODELS["small"]
    if found := find(model, folders):
        return found, model.name
    if model != small and (found := find(small, folders)):
        log.warning("no source had the good model; the small one is served", missing=model.name, sha256=model.sha256)
        return found, small.name
    raise FileNotFoundError(f"no file in {', '.join(map(str, folders))} has the content of {small.name}")


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def main() -> NoReturn:
    """Serves the model until SIGTERM."""
    try:
        settings = command.start(SERVICE, LlmServerSettings, _check)
        path, name = model_file(settings, _machine_memory())
        common = _parameters(settings, path, name)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_USAGE)
    import xllamacpp  # installed only in the container

    with stop_on_signal() as stop:
        try:
            server = xllamacpp.Server(common)
        except RuntimeError as error:  # its own log has the reason
            log.error("failed to start the server", model_file=str(path), port=PORT, error=str(error))
            sys.exit(1)
        log.info(
            "started the server",
            model=name,
            file=str(path),
            address=server.listening_address,
            threads=settings.llm_server_threads,
            slots=settings.llm_server_parallel,
            context=settings.llm_server_context,
        )
        stop.wait()
    log.info("stopped")
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: the destructor of the server (xllamacpp 2026.10.11549) never returns, even if it is idle. Nothing is
    # lost: callers treat a closed connection as an overload and retry.
    os._exit(0)


def _parameters(settings: LlmServerSettings, path: Path, name: str) -> Any:
    import xllamacpp  # installed only in the container

    common = xllamacpp.CommonParams()
    apply(parameters(settings, str(path), name), common)
    return common


def _check(settings: LlmServerSettings) -> str:
    path, name = model_file(settings, _machine_memory())
    _parameters(settings, path, name)
    return f"{name} from {path}"


if __name__ == "__main__":
    main()
