"""Scores and judges the recorded answers with the running fleet.

It asks score-validator and judge-service with the clients of the Flink job, which wait while a service is unavailable.
So the judge is the one of `.env`, and its key stays in its container.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from flink_job.client import Rejected
from flink_job.judging import JudgeClient
from flink_job.scoring import ScorerClient
from pipeline.messages import Response
from pipeline.routing import BertScore
from studies.answers.labelled import LabelledAnswer
from studies.judge.results import Result, append, key, read_results

CALLS = 4
TIMEOUT_SECONDS = 600
"""Maximum of `JUDGE_TIMEOUT`."""


def message(answer: LabelledAnswer) -> Response:
    """Returns a recorded answer as the Flink job gets it."""
    now = datetime.now(UTC)
    return Response(
        question_id=answer.question_id,
        question_text=answer.question,
        original_answer=answer.reference,
        processing_attempts=answer.attempt,
        asked_at=now,
        llm_response=answer.answer,
        model=answer.model,
        llm_latency_ms=0,
        generated_at=now,
    )


async def measure(answer: LabelledAnswer, scorer: ScorerClient, judge: JudgeClient) -> Result:
    """Returns the score and the judgement of an answer.

    Raises:
        ValueError: A service rejects it.
    """
    asked = message(answer)
    score = await scorer.score(asked.llm_response, answer.reference)
    began = time.monotonic()
    judgement = await judge.judge(asked)
    seconds = time.monotonic() - began
    if isinstance(score, Rejected):
        raise ValueError(f"attempt {answer.attempt} of {answer.question_id} was rejected: {score.message}")
    return Result(
        model=answer.model,
        question_id=answer.question_id,
        attempt=answer.attempt,
        score=score.score if isinstance(score, BertScore) else None,
        judge=judgement.model,
        probability=judgement.probability,
        problem=judgement.problem,
        tokens=judgement.prompt_tokens + judgement.completion_tokens,
        seconds=seconds,
    )


async def measure_all(answers: Sequence[LabelledAnswer], scorer_url: str, judge_url: str, file: Path) -> list[Result]:
    """Measures answers, `CALLS` at a time, and returns their results.

    The results are in a file as well, so that a second run asks only what is left. A file with results of another judge
    is replaced.

    Raises:
        ValueError: A service rejects an answer.
    """
    scorer, judge = ScorerClient(scorer_url, CALLS), JudgeClient(judge_url, "judge", CALLS, TIMEOUT_SECONDS)
    slots = asyncio.Semaphore(CALLS)

    async def one(answer: LabelledAnswer) -> Result:
        async with slots:
            return await measure(answer, scorer, judge)

    results = list(read_results(file))
    try:
        if answers and results:
            current = await measure(answers[0], scorer, judge)
            if any(each.judge != current.judge for each in results):
                print(f"{file} has results of another judge: starting again with {current.judge}", file=sys.stderr)
                file.unlink()
                results = []
        done = {key(each) for each in results}
        left = [answer for answer in answers if key(answer) not in done]
        for number, finished in enumerate(asyncio.as_completed([one(answer) for answer in left]), 1):
            results.append(await finished)
            append(file, results[-1])
            print(f"\r{number} of {len(left)} answers", end="", file=sys.stderr, flush=True)
    finally:
        print(file=sys.stderr)
        await scorer.close()
        await judge.close()
    return results
