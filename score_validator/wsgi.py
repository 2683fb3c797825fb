"""The composition root of gunicorn's worker."""

import sys

import structlog
from flask_openapi3 import OpenAPI
from gunicorn.arbiter import Arbiter

from pipeline.settings import load
from score_validator.app import create_app
from score_validator.encoder import EncoderError
from score_validator.scorer import load_scorer
from score_validator.settings import ScorerSettings

log = structlog.get_logger()


def application() -> OpenAPI:
    """Loads the encoder and makes the application; gunicorn calls it in the worker, after the fork."""
    settings = load(ScorerSettings)
    try:
        return create_app(settings, load_scorer(settings))
    except EncoderError as error:
        log.error("could not load the encoder", error=str(error))
        sys.exit(Arbiter.APP_LOAD_ERROR)  # with this status gunicorn gives up instead of starting another worker
