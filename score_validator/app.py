"""The routes."""

from typing import Any

from flask import request
from flask_openapi3 import OpenAPI, Tag
from werkzeug.http import parse_dict_header

from pipeline import web
from pipeline.web import FieldError, problem, problems
from score_validator.calibration import calibrated
from score_validator.schemas import MAX_BODY_BYTES, Batch, BatchScores, Pair, Score
from score_validator.scorer import Scored, Scorer
from score_validator.scoring import Busy, CannotScore, Expired, Scoring
from score_validator.settings import ScorerSettings

DESCRIPTION = """\
BERTScore (Zhang et al. 2020) of an answer against a reference answer: tokens are compared by the embeddings of a
language model, so that other words for the same thing count.

`score` is F1 on a scale where 0 is what unrelated texts get from this encoder (its `baseline`) and 1 is identity:
(F1 - baseline) / (1 - baseline), cut at -1 and 1. `precision`, `recall` and `f1` are raw: the numbers of the
`bert-score` package for this pair alone, whatever is scored beside it. The raw numbers of an empty answer are 0. A text
beyond the encoder's 512 tokens is cut, and `truncated` says so.

The score knows an answer that is off topic, gibberish or a single word. It does not know whether a fluent answer is
right, and the embedded encoder reads English only.

A caller that waits for a limited time says so in `Prefer: wait=SECONDS` (RFC 7240): what is not begun by then never
is. The answer is 503 where the time went by in the queue, 504 where most of it did in the model.
"""

_SCORES = Tag(name="scores", description="Scores of answers")
_ERRORS = problems(400, 413, 415, 422, 503, 504)

MAX_WAIT_SECONDS = 3600


def create_app(settings: ScorerSettings, scorer: Scorer) -> OpenAPI:
    """Makes the application.

    Args:
        settings: Of the service.
        scorer: A loaded one; it is called by one thread, which is started here: not before a fork.
    """
    scoring = Scoring(
        scorer,
        settings.scorer_queue,
        settings.scorer_batch,
        settings.scorer_batch_window_ms / 1000,
    )
    app = web.create_api("Score validator", DESCRIPTION, {"model": scoring.check}, max_body_bytes=MAX_BODY_BYTES)
    app.register_error_handler(Busy, _busy)
    app.register_error_handler(Expired, _expired)

    def to_score(scored: Scored) -> Score:
        return Score(
            score=scored.f1 if scoring.baseline is None else calibrated(scored.f1, scoring.baseline),
            precision=scored.precision,
            recall=scored.recall,
            f1=scored.f1,
            baseline=scoring.baseline,
            scorer=scoring.name,
            truncated=bool(scored.truncated),
            truncated_fields=list(scored.truncated),
        )

    @app.post(
        "/score",
        tags=[_SCORES],
        summary="Score an answer",
        description="422 names the field that is wrong; 503 says in `Retry-After` when there should be room again; "
        "503 without it, and 504: the time of `Prefer: wait` is over.",
        responses={200: Score, **_ERRORS},
    )
    def score(body: Pair) -> Any:
        try:
            (scored,) = scoring.score([(body.candidate, body.reference)], wait_seconds())
        except CannotScore as error:
            return _cannot_score(error, error.cause.field)
        return to_score(scored).model_dump()

    @app.post(
        "/score/batch",
        tags=[_SCORES],
        summary="Score several answers",
        description="Each score is that of its pair alone, in the order of the pairs. One pair that has no score fails "
        "the batch with 422, which names it (`pairs.3.reference`).",
        responses={200: BatchScores, **_ERRORS},
    )
    def score_batch(body: Batch) -> Any:
        try:
            scored = scoring.score([(pair.candidate, pair.reference) for pair in body.pairs], wait_seconds())
        except CannotScore as error:
            return _cannot_score(error, f"pairs.{error.index}.{error.cause.field}")
        return BatchScores(scores=[to_score(each) for each in scored]).model_dump()

    return app


def wait_seconds() -> float | None:
    """Returns how long the caller waits by `Prefer: wait` of the request (RFC 7240, 4.3); None when it does not say.

    Seconds, no time of day: the clocks of two machines differ. What cannot be read is ignored, as any preference is.
    """
    wait = parse_dict_header(request.headers.get("Prefer", "")).get("wait") or ""
    return min(int(wait), MAX_WAIT_SECONDS) if wait.isascii() and wait.isdigit() and len(wait) < 20 else None


def _cannot_score(error: CannotScore, field: str) -> Any:
    return problem(422, f"{field}: {error.cause.reason}", [FieldError(field=field, message=error.cause.reason)])


def _busy(error: Busy) -> Any:
    return problem(503, f"The scorer is busy: {error}.", Retry_After=str(error.retry_after_seconds))


def _expired(error: Expired) -> Any:
    return problem(504 if error.begun else 503, f"The caller's time is over: {error}.")
