"""A reference that was wrong: it is replaced, and the answers get new scores, without a call of the model.

The scorer is asked directly, for all attempts in one call. By way of the topics the Flink job would see one attempt
after the other, and each low score would ask for a regeneration.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import structlog

from pipeline import http
from pipeline.errors import Unavailable
from pipeline.messages import Quality
from pipeline.routing import BertScore
from pipeline.scores import bert_score
from pipeline.sizes import KEPT_CHARACTERS
from storage_service.schemas import State

log = structlog.get_logger()

SCORER_SECONDS = 30
"""For which the scorer is waited for."""

SCORE_DIGITS = 6
"""As in the table: an answer from the cache and one from the database are the same."""

_REFUSALS = {400, 413, 422}


class Conflict(Exception):
    """The question does not stand as it would have to; the text says why."""


class CannotScore(Exception):
    """The scorer refuses an answer or the reference; the text says why."""


@dataclass(frozen=True)
class Candidate:
    """A generation that may be kept.

    Attributes:
        attempt: Its number; None: no attempt is noted of this answer.
        llm_response: The answer.
        model: Which gave it.
        whole: Whether that is all of it: histories that were too long for a message are cut.
    """

    attempt: int | None
    llm_response: str
    model: str
    whole: bool = True


@dataclass(frozen=True)
class Scorable:
    """A question whose answers may be scored again.

    Attributes:
        status: How it stands; only those of a completed one are.
        asked_at: When it was asked last: by this a later run is told apart.
        candidates: Its scored generations in their order, its answer among them; empty without an answer.
    """

    status: str
    asked_at: datetime
    candidates: Sequence[Candidate]


@dataclass(frozen=True)
class Correction:
    """What becomes of a question with another reference.

    Attributes:
        original_answer: The reference.
        scores: Of all candidates, by attempt.
        kept: The best of them.
        score: Its score.
        quality: What that means.
    """

    original_answer: str
    scores: Sequence[tuple[int | None, float]]
    kept: Candidate
    score: BertScore
    quality: Quality

    def answer(self) -> Mapping[str, Any]:
        """Returns the columns of the answer that change."""
        return {
            "llm_response": self.kept.llm_response,
            "model": self.kept.model,
            "bert_score": _rounded(self.score.score),
            "bert_precision": _rounded(self.score.precision),
            "bert_recall": _rounded(self.score.recall),
            "bert_f1": _rounded(self.score.f1),
            "scorer": self.score.scorer,
            "quality": self.quality,
        }


def candidates(attempts: Sequence[Candidate], kept: Candidate) -> list[Candidate]:
    """Returns the attempts, the answer among them and whole: in their history it may be cut, or missing."""
    found = []
    for each in attempts:
        text = each.llm_response
        cut = len(text) == KEPT_CHARACTERS and text.endswith("…") and text != kept.llm_response
        if cut and kept.llm_response.startswith(text[:-1]):
            each = replace(each, llm_response=kept.llm_response)
        elif cut:
            each = replace(each, whole=False)
        found.append(each)
    return found if any(each.llm_response == kept.llm_response for each in found) else [*found, kept]


def judge(
    original_answer: str, answers: Sequence[Candidate], scores: Sequence[BertScore], threshold: float
) -> Correction:
    """Chooses the best answer by its scores against a reference; ties keep the first. Only a whole one may be kept.

    Args:
        original_answer: The reference.
        answers: At least one of them whole.
        scores: One for each.
        threshold: Score at or above which an answer is accepted.
    """
    whole = [(each, score) for each, score in zip(answers, scores, strict=True) if each.whole]
    kept, best = max(whole, key=lambda scored: scored[1].score)
    return Correction(
        original_answer=original_answer,
        scores=[(each.attempt, _rounded(score.score)) for each, score in zip(answers, scores, strict=True)],
        kept=kept,
        score=best,
        quality="accepted" if best.score >= threshold else "max_retries_reached",
    )


class Records(Protocol):
    """The questions in the database; each method raises `Unavailable` when it is away."""

    def scorable(self, question_id: str, /) -> Scorable | None:
        """Returns the answers of a question; None for an unknown one."""

    def correct(self, question_id: str, asked_at: datetime, corrected: Correction, /) -> State | None:
        """Replaces reference, scores and answer; None if the question was asked anew or deleted meanwhile."""


class Answers(Protocol):
    """The answer cache."""

    def invalidate(self, *question_ids: str) -> None:
        """Takes answers out; raises `Unavailable` when it is away."""


class Scorer(Protocol):
    """Compares answers with a reference."""

    def score(self, answers: Sequence[str], reference: str, /) -> Sequence[BertScore]:
        """Returns a score for each answer; raises `CannotScore`, or `Unavailable` when it is away or busy."""


class Corrections:
    """The use case."""

    def __init__(self, records: Records, answers: Answers, scorer: Scorer, threshold: float) -> None:
        """Takes the threshold at or above which an answer is accepted."""
        self._records = records
        self._answers = answers
        self._scorer = scorer
        self._threshold = threshold

    def replace_reference(self, question_id: str, original_answer: str) -> State | None:
        """Replaces the reference of a completed question, scores all its attempts again and keeps the best.

        Returns:
            How the question stands then; None for an unknown one.

        Raises:
            Conflict: It is not completed.
            CannotScore: The scorer refuses the reference or an answer.
            Unavailable: The scorer, PostgreSQL or Redis is away. Nothing was changed.
        """
        found = self._records.scorable(question_id)
        if found is None:
            return None
        if found.status != "completed" or not found.candidates:
            raise Conflict(
                f"The question is {found.status} and has no answer to score. Once it has ended, "
                "POST /questions/ID/regenerate takes another reference, too."
            )
        scores = self._scorer.score([each.llm_response for each in found.candidates], original_answer)
        corrected = judge(original_answer, found.candidates, scores, self._threshold)
        self._answers.invalidate(question_id)
        state = self._records.correct(question_id, found.asked_at, corrected)
        if state is None:
            raise Conflict("The question was asked anew or deleted meanwhile.")
        log.info(
            "scored the answers of a question again",
            question_id=question_id,
            quality=corrected.quality,
            score=round(corrected.score.score, SCORE_DIGITS),
            answers=len(found.candidates),
        )
        return state


class ScorerClient:
    """score-validator, by HTTP."""

    def __init__(self, url: str, reply_seconds: float = SCORER_SECONDS) -> None:
        """Takes its address, and for how many seconds it is waited for; nothing connects yet."""
        self._client = http.Client(url, reply_seconds)
        self._wait = math.ceil(reply_seconds)

    def score(self, answers: Sequence[str], reference: str) -> list[BertScore]:
        """Returns a score for each answer.

        Raises:
            CannotScore: The scorer refuses one of them.
            Unavailable: It is away or busy, or what it says are no scores.
        """
        pairs = [{"candidate": each, "reference": reference} for each in answers]
        reply = self._client.call(
            "POST", "/score/batch", json={"pairs": pairs}, headers={"Prefer": f"wait={self._wait}"}
        )
        if reply.status_code in _REFUSALS:
            raise CannotScore(f"The scorer refuses it: {http.problem(reply)}")
        if reply.status_code != 200:
            raise Unavailable(f"The scorer: {http.problem(reply)}")
        try:
            scores = [bert_score(each) for each in reply.json()["scores"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Unavailable("The scorer has answered with something else than scores.") from error
        if len(scores) != len(answers):
            raise Unavailable(f"The scorer has answered with {len(scores)} scores for {len(answers)} answers.")
        return scores


def _rounded(score: float) -> float:
    return round(score, SCORE_DIGITS)
