"""Judgements of answers by judge-service, and of which answers they are asked."""

from typing import Literal

from pydantic import ValidationError

from flink_job.client import BACKOFF_SECONDS, PatientClient, Rejected, Timeouts
from pipeline.messages import Judgement, Response
from pipeline.routing import BertScore, Gate

When = Literal["accepted", "near", "always"]
"""Which scored answers a judge is asked about. `accepted`: those above the threshold. `near`: those of them that are at
most `NEAR` above it. `always`: all."""

NEAR = 0.15
"""Distance from the threshold on the scale of scores, where 0 is the score of unrelated texts and 1 is identity."""

SLACK_SECONDS = 15.0
"""Extra wait beyond the judge's timeout, so that judge-service can reply with the reason."""


def is_judged(response: Response, score: BertScore, gate: Gate, when: When) -> bool:
    """Returns whether a judge is asked about a scored answer. It needs a reference to compare the answer with. Pure."""
    if not response.original_answer:
        return False
    above = score.score - gate.threshold
    return when == "always" or (above >= 0 and (when == "accepted" or above <= NEAR))


class JudgeClient:
    """Client of judge-service for one event loop."""

    def __init__(
        self, url: str, capacity: int, timeout_seconds: float, backoff_seconds: tuple[float, ...] = BACKOFF_SECONDS
    ) -> None:
        """Creates a client.

        Args:
            url: Base address of judge-service.
            capacity: Maximum of calls in flight; fewer while they are not answered in time.
            timeout_seconds: Timeout of judge-service for a call of the judge.
            backoff_seconds: Waits between tries; the last one repeats.
        """
        longest = timeout_seconds + SLACK_SECONDS
        self._client = PatientClient(
            f"{url.rstrip('/')}/judge", capacity, parse, Timeouts(longest, longest), backoff_seconds=backoff_seconds
        )

    async def judge(self, response: Response) -> Judgement | Rejected:
        """Returns what the judge says about an answer.

        Waits as long as the judge is unavailable. Raises only `asyncio.CancelledError`.
        """
        return await self._client.ask(
            {
                "question_id": response.question_id,
                "question_text": response.question_text,
                "question_context": response.question_context,
                "references": list(response.all_references),
                "answer": response.llm_response,
            }
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def parse(body: bytes) -> Judgement:
    """Parses a reply of judge-service.

    Raises:
        ValueError: It is not a judgement.
    """
    try:
        return Judgement.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
