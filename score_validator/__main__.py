"""score-validator: BERTScore over HTTP."""

import sys

import structlog
from flask_openapi3 import OpenAPI
from gunicorn.arbiter import Arbiter

from pipeline import command, server
from pipeline.settings import EXIT_USAGE
from score_validator.app import create_app
from score_validator.encoder import EncoderError
from score_validator.scorer import Scored, engine_of, load_scorer
from score_validator.settings import ScorerSettings

SERVICE = "score-validator"

SPARE_THREADS = 8
"""Threads for `/health`, `/ready` and `/metrics` while each admitted request occupies a thread."""
LOAD_SECONDS = 300
"""Time limit for loading the encoder; slow requests are not affected."""

log = structlog.get_logger()


def main() -> None:
    """Serves until SIGTERM."""
    try:
        settings = command.start(SERVICE, ScorerSettings, _check)
        engine_of(settings)
    except EncoderError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_USAGE)
    server.serve(
        lambda: _application(settings),
        settings.scorer_port,
        settings.scorer_queue + SPARE_THREADS,
        timeout=LOAD_SECONDS,
        graceful_timeout=8,
    )


def _application(settings: ScorerSettings) -> OpenAPI:
    try:
        return create_app(settings, load_scorer(settings))
    except EncoderError as error:
        log.error("failed to load the encoder", error=str(error))
        sys.exit(Arbiter.APP_LOAD_ERROR)  # with this status gunicorn exits instead of starting another worker


def _check(settings: ScorerSettings) -> str:
    scorer = load_scorer(settings)
    (scored,) = scorer.score([("The sky is blue.", "Blue is the colour of the sky.")])
    assert isinstance(scored, Scored)  # texts with words always have a score
    return f"{scorer.name}, F1 of a sample {scored.f1:.3f}"


if __name__ == "__main__":
    main()
