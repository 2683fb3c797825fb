"""Routing rules: the topics to which a scored answer goes. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pipeline import topics
from pipeline.messages import (
    Attempt,
    BestAnswer,
    FailedQuestion,
    Judgement,
    LowQuality,
    ProviderError,
    Quality,
    Question,
    RecordPosition,
    RejectedBy,
    Response,
    ScoreWarning,
    UnscorableReason,
    UnscoredReason,
    Validated,
)


@dataclass(frozen=True)
class BertScore:
    """BERTScore of an answer (Zhang et al. 2020). All numbers are from -1 to 1.

    The answer is compared with its references, and the best one counts. Without a reference, the numbers are means over
    comparisons with further answers of the same model.

    Attributes:
        score: F1 on a scale where 0 is the score of unrelated texts and 1 that of equal texts; thresholds apply to it.
        precision: Mean best match of the answer's tokens, raw.
        recall: Mean best match of the other text's tokens, raw.
        f1: Harmonic mean of precision and recall, raw.
        scorer: Encoder and layer.
        reference_index: Position of the best reference, from 0; None: unknown, or there is none.
        warnings: What to know about the score.
    """

    score: float
    precision: float
    recall: float
    f1: float
    scorer: str
    reference_index: int | None = None
    warnings: tuple[ScoreWarning, ...] = ()


@dataclass(frozen=True)
class NoScore:
    """The scorer cannot read an answer, or none of its references.

    Attributes:
        reason: Why.
        only_answer: Whether it can read a reference: another answer may get a score.
        warnings: What to know about the texts.
    """

    reason: UnscorableReason
    only_answer: bool
    warnings: tuple[ScoreWarning, ...] = ()


@dataclass(frozen=True)
class Gate:
    """The quality gate: the rules by which an answer is accepted.

    Attributes:
        threshold: Score at or above which an answer is accepted.
        max_attempts: Generations after which the best answer so far is kept.
        self_check_threshold: `threshold` for an answer without reference; its score is the agreement with further
            answers, which has another scale.
        judge_threshold: Probability at or above which an answer that a judge was asked about is accepted.
    """

    threshold: float
    max_attempts: int
    self_check_threshold: float
    judge_threshold: float = 0.5

    def of(self, response: Response) -> float:
        """Returns the threshold for the kind of score that an answer has."""
        return self.threshold if response.original_answer else self.self_check_threshold

    def rejects(self, threshold: float, score: float, judgement: Judgement | None) -> RejectedBy | None:
        """Returns what rejects an answer with this threshold for its score; None if it is accepted."""
        if score < threshold:
            return "score"
        if judgement and (judgement.probability is None or judgement.probability < self.judge_threshold):
            return "judge"
        return None


_QUALITIES: dict[bool, tuple[Quality, Quality]] = {
    True: ("accepted", "max_retries_reached"),
    False: ("self_check_accepted", "self_check_max_retries_reached"),
}
"""Whether there is a reference: quality of an accepted answer, and of the best answer when no attempts are left."""


@dataclass(frozen=True)
class Routed:
    """A message and its topic."""

    topic: str
    message: Question


def decide(
    response: Response,
    score: BertScore | NoScore | None,
    gate: Gate,
    now: datetime,
    judgement: Judgement | None = None,
) -> list[Routed]:
    """Decides whether an answer is kept or the question is asked again.

    Args:
        response: The answer.
        score: Its score against the best reference, or against its samples if there is no reference, or why the scorer
            cannot read them; None without reference and samples.
        gate: Thresholds and limit of attempts.
        now: Time of the decision.
        judgement: What the judge says; None: it was not asked.

    Returns:
        The next message of the question (`validated-responses` or `questions-pending`) and, for a scored answer that is
        not accepted, its record (`low-quality-responses`).
    """
    if score is None:
        return [_unscored(response, (*response.attempts, _attempt(response, None)), "no_reference", (), now)]
    if isinstance(score, NoScore):
        return [_unreadable(response, score, gate, now)]
    attempts = (*response.attempts, _attempt(response, score, judgement))
    threshold = gate.of(response)
    rejected_by = gate.rejects(threshold, score.score, judgement)
    this = BestAnswer(
        llm_response=response.llm_response,
        model=response.model,
        attempt=response.processing_attempts,
        bert_score=score.score,
        bert_precision=score.precision,
        bert_recall=score.recall,
        bert_f1=score.f1,
        reference_index=score.reference_index,
        scorer=score.scorer,
        warnings=score.warnings,
        judgement=judgement,
        rejected_by=rejected_by,
    )
    passed, used_up = _QUALITIES[bool(response.original_answer)]
    if rejected_by is None:
        return [_keep(response, this, attempts, passed, now)]
    best = better(response.best, this)
    decision: Literal["regenerate", "max_retries_reached"]
    if response.processing_attempts < gate.max_attempts:
        decision, following = "regenerate", Routed(topics.QUESTIONS_PENDING, _again(response, best, attempts))
    else:
        decision, following = "max_retries_reached", _keep(response, best, attempts, used_up, now)
    return [following, _record(response, this, attempts, threshold, decision, now)]


def give_up(
    question: Question,
    error: ProviderError,
    reason: Literal["retries_exhausted", "patience_exhausted", "not_retryable"],
    source: RecordPosition,
    now: datetime,
) -> Routed:
    """Ends a question whose current attempt has no answer.

    The best answer is never discarded: if an earlier attempt was scored, the question is completed with the best
    answer, like one whose attempts are used up, and its history contains the cause.

    Args:
        question: The question, with the last failure in its `errors`.
        error: The last failure.
        reason: Why there is no further attempt.
        source: Position of the message that failed.
        now: Time of the decision.
    """
    if question.best is None:
        failed = question.convert_to(FailedQuestion, reason=reason, error=error, source=source, failed_at=now)
        return Routed(topics.PERMANENT, failed)
    used_up = _QUALITIES[bool(question.original_answer)][1]
    return _keep(question, question.best, question.attempts, used_up, now)


def better(earlier: BestAnswer | None, later: BestAnswer) -> BestAnswer:
    """Returns the better of two rejected answers, the earlier one if they are equal.

    The score decides, except that a judge decides about answers that only it rejects, and these are the better ones.
    """

    def rank(answer: BestAnswer) -> tuple[bool, float, float]:
        judged = answer.rejected_by == "judge"
        probability = answer.judgement.probability if answer.judgement and judged else None
        return judged, probability or 0.0, answer.bert_score

    return earlier if earlier and rank(earlier) >= rank(later) else later


def _attempt(response: Response, score: BertScore | None, judgement: Judgement | None = None) -> Attempt:
    return Attempt(
        attempt=response.processing_attempts,
        model=response.model,
        llm_response=response.llm_response,
        bert_score=score.score if score else None,
        llm_latency_ms=response.llm_latency_ms,
        prompt_tokens=response.prompt_tokens,
        completion_tokens=response.completion_tokens,
        reasoning_tokens=response.reasoning_tokens,
        cost=response.cost,
        judgement=judgement,
        generated_at=response.generated_at,
    )


def _unreadable(response: Response, score: NoScore, gate: Gate, now: datetime) -> Routed:
    """Asks again if another answer may get a score; otherwise keeps the best scored answer, or this one."""
    attempts = (*response.attempts, _attempt(response, None))
    if score.only_answer and response.processing_attempts < gate.max_attempts:
        return Routed(topics.QUESTIONS_PENDING, _again(response, response.best, attempts))
    if response.best:
        used_up = _QUALITIES[bool(response.original_answer)][1]
        return _keep(response, response.best, attempts, used_up, now)
    return _unscored(response, attempts, score.reason, score.warnings, now)


def _again(response: Response, best: BestAnswer | None, attempts: tuple[Attempt, ...]) -> Question:
    return response.convert_to(
        Question,
        processing_attempts=response.processing_attempts + 1,
        retry_count=0,
        waiting_since=None,
        best=best,
        attempts=attempts,
    )


def _keep(
    question: Question, best: BestAnswer, attempts: tuple[Attempt, ...], quality: Quality, now: datetime
) -> Routed:
    return _validated(question, now, best=best, attempts=attempts, quality=quality, **best.shared_fields())


def _unscored(
    response: Response,
    attempts: tuple[Attempt, ...],
    reason: UnscoredReason,
    warnings: tuple[ScoreWarning, ...],
    now: datetime,
) -> Routed:
    return _validated(
        response,
        now,
        best=None,
        attempts=attempts,
        llm_response=response.llm_response,
        model=response.model,
        bert_score=None,
        bert_precision=None,
        bert_recall=None,
        quality="unscored",
        scorer=None,
        unscored_reason=reason,
        warnings=warnings,
    )


def _validated(question: Question, now: datetime, **fields: Any) -> Routed:
    elapsed = max(0, round((now - question.asked_at).total_seconds() * 1000))
    kept = question.convert_to(Validated, total_processing_time_ms=elapsed, validated_at=now, **fields)
    return Routed(topics.VALIDATED, kept)


def _record(
    response: Response,
    answer: BestAnswer,
    attempts: tuple[Attempt, ...],
    threshold: float,
    decision: Literal["regenerate", "max_retries_reached"],
    now: datetime,
) -> Routed:
    return Routed(
        topics.LOW_QUALITY,
        response.convert_to(
            LowQuality,
            attempts=attempts,
            threshold=threshold,
            decision=decision,
            samples=(),  # not needed any more
            scored_at=now,
            **answer.shared_fields(),
        ),
    )
