"""The rules of the loop: where an answer goes once it is scored. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pipeline import topics
from pipeline.messages import Attempt, Best, LowQuality, Quality, Question, Response, Validated


@dataclass(frozen=True)
class BertScore:
    """BERTScore of an answer (Zhang et al. 2020), each from -1 to 1.

    Against its reference; for a question without one the means over further answers of the same model.

    Attributes:
        score: F1 on a scale where 0 is what unrelated texts get and 1 is identity: what answers are judged by.
        precision: Raw mean best match of the answer's tokens.
        recall: Raw mean best match of the tokens of what it is compared with.
        f1: Their harmonic mean, raw.
        scorer: Encoder and layer.
    """

    score: float
    precision: float
    recall: float
    f1: float
    scorer: str


@dataclass(frozen=True)
class Gate:
    """When an answer is good enough.

    Attributes:
        threshold: Score at or above which an answer is accepted.
        max_attempts: Generations after which the best answer so far is kept.
        self_check_threshold: The same as `threshold` for an answer without reference, whose score is agreement with
            further answers: another scale.
    """

    threshold: float
    max_attempts: int
    self_check_threshold: float

    def of(self, response: Response) -> float:
        """Returns the threshold for the kind of score that an answer has."""
        return self.threshold if response.original_answer else self.self_check_threshold


_QUALITIES: dict[bool, tuple[Quality, Quality]] = {
    True: ("accepted", "max_retries_reached"),
    False: ("self_check_accepted", "self_check_max_retries_reached"),
}
"""Of an answer that passed and of the best when attempts are used up, with and without a reference."""


@dataclass(frozen=True)
class Routed:
    """A message and its topic."""

    topic: str
    message: Question


def decide(response: Response, score: BertScore | None, gate: Gate, now: datetime) -> list[Routed]:
    """Decides what becomes of an answer.

    Args:
        response: The answer.
        score: Its score against the reference, or against its samples where there is none; None without either.
        gate: Threshold and limit of attempts.
        now: Time of the decision.

    Returns:
        One message that carries the question on (`validated-responses` or `questions-pending`) and, for an answer
        below the threshold, its record (`low-quality-responses`).
    """
    attempts = (*response.attempts, _attempt(response, score))
    if score is None:
        return [_keep(response, None, attempts, "unscored", None, now)]
    this = Best(
        llm_response=response.llm_response,
        model=response.model,
        attempt=response.processing_attempts,
        bert_score=score.score,
        bert_precision=score.precision,
        bert_recall=score.recall,
        bert_f1=score.f1,
    )
    passed, used_up = _QUALITIES[bool(response.original_answer)]
    if score.score >= gate.of(response):
        return [_keep(response, this, attempts, passed, score.scorer, now)]
    # Ties keep the first.
    best = response.best if response.best and response.best.bert_score >= this.bert_score else this
    if response.processing_attempts < gate.max_attempts:
        return [
            Routed(topics.QUESTIONS_PENDING, _again(response, best, attempts)),
            _record(response, score, attempts, gate, "regenerate", now),
        ]
    return [
        _keep(response, best, attempts, used_up, score.scorer, now),
        _record(response, score, attempts, gate, "max_retries_reached", now),
    ]


def _attempt(response: Response, score: BertScore | None) -> Attempt:
    return Attempt(
        attempt=response.processing_attempts,
        model=response.model,
        llm_response=response.llm_response,
        bert_score=score.score if score else None,
        llm_latency_ms=response.llm_latency_ms,
        prompt_tokens=response.prompt_tokens,
        completion_tokens=response.completion_tokens,
        cost=response.cost,
        generated_at=response.generated_at,
    )


def _again(response: Response, best: Best, attempts: tuple[Attempt, ...]) -> Question:
    return response.become(
        Question, processing_attempts=response.processing_attempts + 1, retry_count=0, best=best, attempts=attempts
    )


def _keep(
    response: Response,
    best: Best | None,
    attempts: tuple[Attempt, ...],
    quality: Quality,
    scorer: str | None,
    now: datetime,
) -> Routed:
    elapsed = (now - response.asked_at).total_seconds()
    return Routed(
        topics.VALIDATED,
        response.become(
            Validated,
            best=best,
            attempts=attempts,
            llm_response=best.llm_response if best else response.llm_response,
            model=best.model if best else response.model,
            bert_score=best.bert_score if best else None,
            bert_precision=best.bert_precision if best else None,
            bert_recall=best.bert_recall if best else None,
            bert_f1=best.bert_f1 if best else None,
            quality=quality,
            scorer=scorer,
            total_processing_time_ms=max(0, round(elapsed * 1000)),
            validated_at=now,
        ),
    )


def _record(
    response: Response,
    score: BertScore,
    attempts: tuple[Attempt, ...],
    gate: Gate,
    decision: Literal["regenerate", "max_retries_reached"],
    now: datetime,
) -> Routed:
    return Routed(
        topics.LOW_QUALITY,
        response.become(
            LowQuality,
            attempts=attempts,
            bert_score=score.score,
            bert_precision=score.precision,
            bert_recall=score.recall,
            bert_f1=score.f1,
            scorer=score.scorer,
            threshold=gate.of(response),
            decision=decision,
            samples=(),  # they have served; a record is of the answer
            scored_at=now,
        ),
    )
