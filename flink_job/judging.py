"""Judgements of answers by judge-service, and of which answers they are asked."""

from typing import Literal

import structlog
from pydantic import ValidationError

from flink_job.client import BACKOFF_SECONDS, PatientClient, Rejected, Timeouts
from pipeline.messages import Judgement, Response
from pipeline.routing import BertScore, Gate

log = structlog.get_logger(__name__)

When = Literal["accepted", "near", "always"]
"""Which scored answers a judge is asked about. `accepted`: those above the threshold. `near`: those of them that are at
most `NEAR` above it. `always`: all."""

NEAR = 0.15
"""Distance from the threshold on the scale of scores, where 0 is the score of unrelated texts and 1 is identity."""

SLACK_SECONDS = 15.0
"""Extra wait beyond the judge's timeout: judge-service waits up to 10 s until the provider admits the call."""


def is_judged(response: Response, score: BertScore, gate: Gate, when: When) -> bool:
    """Returns whether a judge is asked about a scored answer. It needs a reference to compare the answer with. Pure."""
    if not response.original_answer:
        return False
    above = score.score - gate.threshold
    return when == "always" or (above >= 0 and (when == "accepted" or above <= NEAR))


class JudgeClient:
    """Client of judge-service for one event loop."""

    def __init__(
        self,
        url: str,
        model: str,
        capacity: int,
        timeout_seconds: float,
        backoff_seconds: tuple[float, ...] = BACKOFF_SECONDS,
    ) -> None:
        """Creates a client.

        Args:
            url: Base address of judge-service.
            model: Name of the judge, for answers that judge-service rejects.
            capacity: Maximum of calls in flight; fewer while they are not answered in time.
            timeout_seconds: Timeout of judge-service for a call of the judge.
            backoff_seconds: Waits between tries; the last one repeats.
        """
        self._model = model
        longest = timeout_seconds + SLACK_SECONDS
        self._client = PatientClient(
            f"{url.rstrip('/')}/judge", capacity, parse, Timeouts(longest, longest), backoff_seconds=backoff_seconds
        )

    async def judge(self, response: Response) -> Judgement:
        """Returns what the judge says about an answer; an answer that judge-service rejects is refused.

        Waits as long as the judge is unavailable. Raises only `asyncio.CancelledError`.
        """
        judgement = await self._client.ask(
            {
                "question_id": response.question_id,
                "question_text": response.question_text,
                "question_context": response.question_context,
                "references": list(response.all_references),
                "answer": response.llm_response,
            }
        )
        if isinstance(judgement, Rejected):
            log.warning("judge-service rejected an answer", question_id=response.question_id, error=judgement.message)
            return Judgement(probability=None, problem="refused", model=self._model)
        return judgement

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
