"""Scores of answers by score-validator."""

import asyncio
import json
from collections.abc import Sequence
from statistics import fmean as mean
from typing import Any

from flink_job.client import BACKOFF_SECONDS, PatientClient, Rejected, Timeouts
from pipeline.messages import ScoreWarning
from pipeline.routing import BertScore, NoScore
from pipeline.scores import bert_score

TIMEOUTS = Timeouts(
    first_seconds=15.0,
    # Less than the 60 s in one batch after which the scorer's `/ready` reports it as stuck.
    longest_seconds=50.0,
)

_PROBE = {"candidate": "Paris is the capital of France.", "reference": "The capital of France is Paris."}


class ScorerClient:
    """Client of the scorer for one event loop."""

    def __init__(self, url: str, capacity: int, backoff_seconds: tuple[float, ...] = BACKOFF_SECONDS) -> None:
        """Creates a client.

        Args:
            url: Base address of the scorer.
            capacity: Maximum of calls in flight; fewer while the scorer does not answer them in time.
            backoff_seconds: Waits between tries; the last one repeats.
        """
        self._client = PatientClient(f"{url.rstrip('/')}/score", capacity, parse, TIMEOUTS, _PROBE, backoff_seconds)

    async def score(self, candidate: str, *references: str) -> BertScore | NoScore | Rejected:
        """Returns the score of an answer against its best reference, or why there is none.

        Waits as long as the scorer is unavailable. Raises only `asyncio.CancelledError`.

        Args:
            candidate: The answer.
            references: At least one; all are sent in one call.
        """
        return await self._client.ask(_pair(candidate, references))

    async def agreement(self, answer: str, samples: Sequence[str]) -> BertScore | NoScore | None:
        """Returns the mean scores of an answer against further answers to the same prompt.

        The mean, as in SelfCheckGPT (Manakul et al. 2023, arXiv:2303.08896): one deviating sample counts only with its
        share, while a minimum would depend on it alone and a maximum on one agreeing sample. Samples that the scorer
        rejects or cannot read are left out. Waits and raises as `score` does.

        Args:
            answer: The answer to judge.
            samples: At least one.

        Returns:
            `NoScore` if the scorer cannot read the answer. None if it rejects or cannot read any sample: the cause is
            not the answer, which stays without a score.
        """
        # One call per sample: a single sample without words would fail a batch as a whole. The scorer combines calls
        # that arrive together into one batch.
        results = await asyncio.gather(*(self.score(answer, sample) for sample in samples))
        scores = [result for result in results if isinstance(result, BertScore)]
        if not scores:
            unreadable = (each for each in results if isinstance(each, NoScore) and each.only_answer)
            return next(unreadable, None)
        warned: set[ScoreWarning] = {warning for each in scores for warning in each.warnings}
        return BertScore(
            score=mean(each.score for each in scores),
            precision=mean(each.precision for each in scores),
            recall=mean(each.recall for each in scores),
            f1=mean(each.f1 for each in scores),
            scorer=scores[0].scorer,
            warnings=tuple(sorted(warned, reverse=True)),
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def _pair(candidate: str, references: Sequence[str]) -> dict[str, Any]:
    """Returns the body of a request. A scorer of an earlier release reads a single reference, too."""
    if len(references) == 1:
        return {"candidate": candidate, "reference": references[0]}
    return {"candidate": candidate, "references": list(references)}


def parse(body: bytes) -> BertScore | NoScore:
    """Parses the scorer's answer.

    Raises:
        ValueError: It is not JSON, or a number is not between -1 and 1.
        KeyError: A field is missing.
        TypeError: A field is of another type.
    """
    try:
        answer = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return bert_score(answer)
