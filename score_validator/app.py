"""The routes."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from flask import request
from flask_openapi3 import OpenAPI, Tag
from werkzeug.http import parse_dict_header

from pipeline import web
from pipeline.web import FieldError, problem, problems
from score_validator.calibration import calibrated
from score_validator.schemas import MAX_BODY_BYTES, Batch, BatchScores, Pair, Score
from score_validator.scorer import InvalidPair, Scored, Scorer, Unscorable
from score_validator.scoring import Busy, Expired, Scoring
from score_validator.settings import ScorerSettings

DESCRIPTION = """\
BERTScore (Zhang et al. 2020) of an answer against a reference answer. Tokens are compared by the embeddings of a
language model, so that synonyms count as similar.

`score` is F1 on a scale where 0 is the mean of unrelated texts with this encoder (its `baseline`) and 1 is identity:
(F1 - baseline) / (1 - baseline), clipped to -1 and 1. `precision`, `recall` and `f1` are raw. They are the numbers of
the `bert-score` package for this pair alone, independent of other pairs in the batch. The raw numbers of an empty
answer are 0. A text with more than the encoder's 512 tokens is cut, and `truncated` is true.

With several `references` the answer gets the numbers of the one with the highest score, `reference_index`. References
that the encoder cannot read, or that have no words, are left out as long as there is another one.

The score detects answers that are off topic, gibberish or a single word. It does not detect whether a fluent answer is
right. The embedded encoder reads English only: a pair with a text in another language, or with many unknown words, has
no score, and `unscorable` says why.

A caller that waits for a limited time sends `Prefer: wait=SECONDS` (RFC 7240). Pairs that were not started by then are
dropped. The reply is 503 if the time passed in the queue, and 504 if most of it passed in the model.
"""

_SCORES = Tag(name="scores", description="Scores of answers")
_ERRORS = problems(400, 413, 415, 422, 503, 504)

MAX_WAIT_SECONDS = 3600
BATCH_WINDOW_SECONDS = 0.002
"""How long a batch waits for more pairs; a single pair never waits."""


class CannotScore(Exception):
    """A pair of a request cannot be scored.

    Attributes:
        index: Index of the pair.
        field: The field of the pair that causes it.
        reason: Explanation for people.
    """

    def __init__(self, index: int, field: str, reason: str) -> None:
        super().__init__(f"pair {index}: {field}: {reason}")
        self.index = index
        self.field = field
        self.reason = reason


def create_app(settings: ScorerSettings, scorer: Scorer) -> OpenAPI:
    """Creates the application.

    Args:
        settings: Settings of the service.
        scorer: A loaded scorer. It is called by one thread, which is started here, so this must run after a fork.
    """
    scoring = Scoring(
        scorer,
        settings.scorer_queue,
        settings.scorer_batch,
        BATCH_WINDOW_SECONDS,
    )
    app = web.create_api("Score validator", DESCRIPTION, {"model": scoring.check}, max_body_bytes=MAX_BODY_BYTES)
    app.register_error_handler(Busy, _busy)
    app.register_error_handler(Expired, _expired)

    def to_score(result: Scored | Unscorable, reference_index: int) -> Score:
        if isinstance(result, Unscorable):
            return Score(
                score=None,
                precision=None,
                recall=None,
                f1=None,
                baseline=scoring.baseline,
                scorer=scoring.name,
                truncated=bool(result.truncated),
                truncated_fields=list(result.truncated),
                reference_index=None,
                unscorable=result.reason,
                unscorable_fields=list(result.fields),
                warnings=list(result.warnings),
            )
        return Score(
            score=result.f1 if scoring.baseline is None else calibrated(result.f1, scoring.baseline),
            precision=result.precision,
            recall=result.recall,
            f1=result.f1,
            baseline=scoring.baseline,
            scorer=scoring.name,
            truncated=bool(result.truncated),
            truncated_fields=list(result.truncated),
            reference_index=reference_index,
            warnings=list(result.warnings),
        )

    def best_scores(pairs: Sequence[Pair]) -> list[Score]:
        """Returns the score of each pair with its best reference, or why it has none.

        Raises:
            CannotScore: A pair cannot be scored with any of its references.
            Busy: The queue is full.
            Expired: The caller's time is over.
        """
        flat = [(pair.candidate, reference) for pair in pairs for reference in pair.texts]
        results = iter(scoring.score(flat, wait_seconds()))
        found = []
        for number, pair in enumerate(pairs):
            compared = [
                each if isinstance(each, InvalidPair) else to_score(each, index)
                for index, each in enumerate(islice(results, len(pair.texts)))
            ]
            best = max(compared, key=_rank)  # of equal ones the first
            if isinstance(best, InvalidPair):
                several = pair.references and best.field == "reference"
                raise CannotScore(number, f"references.{compared.index(best)}" if several else best.field, best.reason)
            found.append(best)
        return found

    @app.post(
        "/score",
        tags=[_SCORES],
        summary="Score an answer",
        description="422 names the invalid field. 503 with `Retry-After`: the queue is full. 503 without it, and 504: "
        "the time of `Prefer: wait` is over.",
        responses={200: Score, **_ERRORS},
    )
    def score(body: Pair) -> Any:
        try:
            (found,) = best_scores([body])
        except CannotScore as error:
            return _cannot_score(error.field, error.reason)
        return found.model_dump()

    @app.post(
        "/score/batch",
        tags=[_SCORES],
        summary="Score several answers",
        description="Scores are in the order of the pairs; each is that of its pair alone. If one pair has no score, "
        "the batch fails with 422, which names it (`pairs.3.reference`).",
        responses={200: BatchScores, **_ERRORS},
    )
    def score_batch(body: Batch) -> Any:
        try:
            found = best_scores(body.pairs)
        except CannotScore as error:
            return _cannot_score(f"pairs.{error.index}.{error.field}", error.reason)
        return BatchScores(scores=found).model_dump()

    return app


def wait_seconds() -> float | None:
    """Returns how long the caller waits, from the request's `Prefer: wait` (RFC 7240, 4.3); None without it.

    The unit is seconds, not a time of day, because clocks of machines differ. An invalid value is ignored, like any
    unknown preference.
    """
    wait = parse_dict_header(request.headers.get("Prefer", "")).get("wait") or ""
    return min(int(wait), MAX_WAIT_SECONDS) if wait.isascii() and wait.isdigit() and len(wait) < 20 else None


def _rank(result: Score | InvalidPair) -> tuple[int, float]:
    """Returns the rank of a result among those of an answer with several references; the highest one counts.

    From high to low: a score that is not a number, because it is an error; scores; an answer that cannot be read; a
    reference that cannot be read; a reference without words.
    """
    if isinstance(result, InvalidPair):
        return (4 if result.field == "candidate" else 0), 0.0
    if result.score is not None:
        return 3, result.score
    return (1 if "reference" in result.unscorable_fields else 2), 0.0


def _cannot_score(field: str, reason: str) -> Any:
    return problem(422, f"{field}: {reason}", [FieldError(field=field, message=reason)])


def _busy(error: Busy) -> Any:
    return problem(503, f"The scorer is busy: {error}.", Retry_After=str(error.retry_after_seconds))


def _expired(error: Expired) -> Any:
    return problem(504 if error.begun else 503, f"The caller's time is over: {error}.")
