"""Replaces a wrong reference and scores the answers again, without a call of the model.

The scorer is called directly, once for all attempts. Through the topics, the Flink job would get one attempt after the
other, and each low score would cause a regeneration. No judge is asked: the score alone decides, and what a judge said
about the old references is removed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import structlog

from pipeline import http
from pipeline.errors import Unavailable
from pipeline.messages import Quality, RejectedBy
from pipeline.routing import BertScore, NoScore
from pipeline.scores import bert_score
from pipeline.sizes import KEPT_CHARACTERS
from storage_service.schemas import State

log = structlog.get_logger()

SCORER_SECONDS = 30
"""Timeout for the scorer."""

SCORE_DIGITS = 6
"""As in the table, so that answers from the cache and from the database are equal."""

_REFUSALS = {400, 413, 422}


class Conflict(Exception):
    """The state of the question does not allow the operation; the text is the reason."""


class CannotScore(Exception):
    """The scorer refuses an answer or the reference; the text is the reason."""


@dataclass(frozen=True)
class Candidate:
    """A generation that may be kept.

    Attributes:
        attempt: Number of the attempt; None: the answer is not among the recorded attempts.
        llm_response: The answer.
        model: Model that gave it.
        whole: False: the answer was cut, because the history was too long for a message.
    """

    attempt: int | None
    llm_response: str
    model: str
    whole: bool = True


@dataclass(frozen=True)
class Scorable:
    """A question whose answers may be scored again.

    Attributes:
        status: Its status; only answers of a completed question are scored again.
        asked_at: When it was last asked; a later run of the question has another time.
        candidates: Its scored generations in their order, including its answer; empty without an answer.
    """

    status: str
    asked_at: datetime
    candidates: Sequence[Candidate]


@dataclass(frozen=True)
class Correction:
    """Result of scoring a question with another reference.

    Attributes:
        original_answer: The first reference.
        references: The further references.
        scores: Scores of all candidates, by attempt; None: the scorer cannot read the candidate.
        kept: The best candidate.
        score: Score of the best candidate.
        quality: Quality of the best candidate.
        rejected_by: Why the best candidate is not accepted; None: it is.
    """

    original_answer: str
    references: tuple[str, ...]
    scores: Sequence[tuple[int | None, float | None]]
    kept: Candidate
    score: BertScore
    quality: Quality
    rejected_by: RejectedBy | None

    def answer(self) -> Mapping[str, Any]:
        """Returns the columns of the answer that change."""
        return {
            "llm_response": self.kept.llm_response,
            "model": self.kept.model,
            "bert_score": _rounded(self.score.score),
            "bert_precision": _rounded(self.score.precision),
            "bert_recall": _rounded(self.score.recall),
            "bert_f1": _rounded(self.score.f1),
            "reference_index": self.score.reference_index,
            "scorer": self.score.scorer,
            "quality": self.quality,
            "warnings": list(self.score.warnings),
            "rejected_by": self.rejected_by,
        }


def candidates(attempts: Sequence[Candidate], kept: Candidate) -> list[Candidate]:
    """Returns the attempts and the complete final answer, which may be cut or missing in the history of attempts."""
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


def choose(
    references: Sequence[str], answers: Sequence[Candidate], scores: Sequence[BertScore | NoScore], threshold: float
) -> Correction:
    """Chooses the best complete answer by the scores; of equal scores the first one.

    Args:
        references: All references, at least one.
        answers: The answers, at least one of them complete.
        scores: A score for each answer, or why it has none.
        threshold: Score at or above which an answer is accepted.

    Raises:
        CannotScore: No complete answer has a score.
    """
    unreadable = next((each for each in scores if isinstance(each, NoScore) and not each.only_answer), None)
    if unreadable:
        raise CannotScore(f"The scorer cannot read any reference: {unreadable.reason}")
    whole = [
        (each, score)
        for each, score in zip(answers, scores, strict=True)
        if each.whole and isinstance(score, BertScore)
    ]
    if not whole:
        raise CannotScore("The scorer cannot read any of the answers.")
    kept, best = max(whole, key=lambda scored: scored[1].score)
    original_answer, *further = references
    accepted = best.score >= threshold
    return Correction(
        original_answer=original_answer,
        references=tuple(further),
        scores=[
            (each.attempt, _rounded(score.score) if isinstance(score, BertScore) else None)
            for each, score in zip(answers, scores, strict=True)
        ],
        kept=kept,
        score=best,
        quality="accepted" if accepted else "max_retries_reached",
        rejected_by=None if accepted else "score",
    )


class Records(Protocol):
    """The questions in the database; each method raises `Unavailable` when it is unavailable."""

    def scorable(self, question_id: str, /) -> Scorable | None:
        """Returns the answers of a question; None for an unknown question."""

    def correct(self, question_id: str, asked_at: datetime, corrected: Correction, /) -> State | None:
        """Replaces references, scores and answer; None if the question was restarted or deleted meanwhile."""


class Answers(Protocol):
    """The answer cache."""

    def invalidate(self, *question_ids: str) -> None:
        """Removes answers; raises `Unavailable` when the cache is unavailable."""


class Scorer(Protocol):
    """Compares answers with references."""

    def score(self, answers: Sequence[str], /, *references: str) -> Sequence[BertScore | NoScore]:
        """Returns the score of each answer with its best reference, or why it has none.

        Raises `CannotScore`, or `Unavailable` when it is unavailable or busy.
        """


class Corrections:
    """The use case."""

    def __init__(self, records: Records, answers: Answers, scorer: Scorer, threshold: float) -> None:
        """Takes the threshold at or above which an answer is accepted."""
        self._records = records
        self._answers = answers
        self._scorer = scorer
        self._threshold = threshold

    def replace_references(self, question_id: str, references: Sequence[str]) -> State | None:
        """Replaces all references of a completed question, scores all its attempts again and keeps the best.

        Returns:
            The new state of the question; None for an unknown question.

        Raises:
            Conflict: The question is not completed.
            CannotScore: The scorer refuses a reference or an answer, or cannot read them.
            Unavailable: The scorer, PostgreSQL or Redis is unavailable. Nothing was changed.
        """
        found = self._records.scorable(question_id)
        if found is None:
            return None
        if found.status != "completed" or not found.candidates:
            raise Conflict(
                f"The question is {found.status} and has no answer to score. Once it has ended, "
                "POST /questions/ID/regenerate accepts another reference, too."
            )
        scores = self._scorer.score([each.llm_response for each in found.candidates], *references)
        corrected = choose(references, found.candidates, scores, self._threshold)
        self._answers.invalidate(question_id)
        state = self._records.correct(question_id, found.asked_at, corrected)
        if state is None:
            raise Conflict("The question was restarted or deleted meanwhile.")
        log.info(
            "scored the answers of a question again",
            question_id=question_id,
            quality=corrected.quality,
            score=round(corrected.score.score, SCORE_DIGITS),
            answers=len(found.candidates),
        )
        return state


class ScorerClient:
    """HTTP client of score-validator."""

    def __init__(self, url: str, reply_seconds: float = SCORER_SECONDS) -> None:
        """Takes the address of the scorer and the timeout in seconds; it does not connect yet."""
        self._client = http.Client(url, reply_seconds)
        self._wait = math.ceil(reply_seconds)

    def score(self, answers: Sequence[str], *references: str) -> list[BertScore | NoScore]:
        """Returns the score of each answer with its best reference, or why it has none; makes one call.

        Raises:
            CannotScore: The scorer refuses one of the texts.
            Unavailable: The scorer is unavailable or busy, or its reply is invalid.
        """
        # A scorer of an earlier release reads a single reference, too.
        against = {"reference": references[0]} if len(references) == 1 else {"references": references}
        pairs = [{"candidate": each, **against} for each in answers]
        reply = self._client.call(
            "POST", "/score/batch", json={"pairs": pairs}, headers={"Prefer": f"wait={self._wait}"}
        )
        if reply.status_code in _REFUSALS:
            raise CannotScore(f"The scorer refuses the texts: {http.problem(reply)}")
        if reply.status_code != 200:
            raise Unavailable(f"The scorer: {http.problem(reply)}")
        try:
            scores = [bert_score(each) for each in reply.json()["scores"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Unavailable("The reply of the scorer has no valid scores.") from error
        if len(scores) != len(answers):
            raise Unavailable(f"The reply of the scorer has {len(scores)} scores for {len(answers)} answers.")
        return scores


def _rounded(score: float) -> float:
    return round(score, SCORE_DIGITS)
