import asyncio

from aiohttp.test_utils import TestClient, TestServer

from flink_job.scoring import parse
from studies.fleet.environment import scripted_scorer


def test_its_answer_is_read_as_a_score_and_says_that_it_is_none():
    async def ask():
        async with TestClient(TestServer(scripted_scorer.application(0))) as client:
            answer = await client.post("/score", json={"candidate": "a", "reference": "b"})
            return await answer.read()

    score = parse(asyncio.run(ask()))
    assert score.score == 1
    assert "not a score" in score.scorer
