"""The container: `--check`, or gunicorn in the place of this process."""

import argparse
import os
import sys
from typing import NoReturn

from pipeline import logs
from pipeline.settings import EXIT_USAGE, load
from score_validator.encoder import EncoderError
from score_validator.scorer import Scored, engine_of, load_scorer
from score_validator.settings import ScorerSettings

SERVICE = "score-validator"


def main() -> NoReturn:
    """Starts gunicorn; `--check` verifies imports and settings by loading the encoder and scoring one pair."""
    parser = argparse.ArgumentParser(prog="python -m score_validator", description=__doc__)
    parser.add_argument("--check", action="store_true", help="load the encoder, score one pair, and exit")
    check = parser.parse_args().check

    settings = load(ScorerSettings)
    try:
        engine_of(settings)
        if check:
            _check(settings)
            sys.exit(0)
    except EncoderError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_USAGE)
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--config", "python:score_validator.gunicorn_conf"])


def _check(settings: ScorerSettings) -> None:
    logs.configure(SERVICE, settings)
    scorer = load_scorer(settings)
    (scored,) = scorer.score([("The sky is blue.", "Blue is the colour of the sky.")])
    assert isinstance(scored, Scored)  # two texts with words have a score
    print(f"{SERVICE}: all well, {scorer.name}, F1 of a sample {scored.f1:.3f}")


if __name__ == "__main__":
    main()
