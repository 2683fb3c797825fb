"""Measures the fleet's share of the model's speed: `python -m studies.fleet.tokens`, in the tests' container.

The same questions go through the whole fleet, and directly to llm-server with the requests of llm-consumer and the same
number in flight. They have no reference answer, so that each is asked exactly once. Both sides alternate in rounds;
completion tokens/s from the first question to the last answer count.
"""

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp

from llm_consumer.prompt import prompts
from llm_consumer.settings import LlmSettings
from pipeline.messages import Question
from pipeline.question import question_id
from studies.fleet.environment.database import Database
from studies.fleet.environment.errors import MeasurementError
from studies.fleet.environment.fleet import idle_fleet
from studies.fleet.environment.http_load import Client
from studies.fleet.environment.http_load import question as body_of
from studies.fleet.environment.questions import unique_questions
from studies.fleet.environment.waiting import wait_until_completed
from studies.reporting.results import Comparison, Run, median
from studies.reporting.study import Findings, Runs, option, study
from tests.fleet import STORAGE
from tests.workers import SERVICE
from traffic_generator import dataset

FLEET, STRAIGHT = "fleet", "straight"
LONGEST_SECONDS = 1200
CONNECTIONS = 16

METHOD = """\
The embedded model answers on both sides, with the fleet's settings. Straight: the requests of llm-consumer, with as
many in flight as all its replicas have together. Each round asks new texts, because the fleet knows the old ones.
Answers are sampled and differ in length, so tokens/s are compared, not seconds."""


@dataclass(frozen=True)
class TokenUsage:
    """Tokens and time of one side.

    Attributes:
        tokens: Completion tokens.
        seconds: Time from the first question to the last answer.
    """

    tokens: int
    seconds: float


def summary(side: str, number: int, count: int, spent: TokenUsage) -> Run:
    """Returns the raw numbers of one run."""
    return {
        "side": side,
        "round": number,
        "questions": count,
        "completion tokens": spent.tokens,
        "seconds": spent.seconds,
        "tokens/s": spent.tokens / spent.seconds,
    }


def compare(runs: Sequence[Run]) -> Comparison:
    """Compares the medians."""
    fleet, straight = (median([run for run in runs if run["side"] == side], "tokens/s") for side in (FLEET, STRAIGHT))
    return Comparison(
        figure="embedded model, completion tokens/s",
        unit="tokens/s",
        fleet=fleet,
        against=straight,
        baseline="straight to llm-server",
        goal=0.9,
    )


def settings_of(environment: Sequence[str]) -> LlmSettings:
    """Reads the settings of llm-consumer from the environment of one of its containers.

    Args:
        environment: Entries `NAME=VALUE`.
    """
    values: dict[str, Any] = dict(each.split("=", 1) for each in environment)
    values = {name.lower(): value for name, value in values.items() if value}
    if "llm_extra_body" in values:
        values["llm_extra_body"] = json.loads(values["llm_extra_body"])
    return LlmSettings(**values)


def texts(count: int) -> tuple[str, list[str]]:
    """Returns unique questions based on the question set: their common beginning, and their texts."""
    known = itertools.cycle(dataset.load().questions)
    beginning, numbered = unique_questions(count)
    return beginning, [f"{text.partition(': ')[0]}: {next(known).text}" for text in numbered]


async def straight(settings: LlmSettings, in_flight: int, asked: Sequence[str]) -> TokenUsage:
    """Sends questions directly to llm-server."""
    free = asyncio.Semaphore(in_flight)
    timeout = aiohttp.ClientTimeout(settings.llm_timeout * len(asked))

    async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session:

        async def ask(text: str) -> int:
            question = Question(question_id=question_id(text), question_text=text, asked_at=datetime.now(UTC))
            [request] = prompts(question, settings.llm_temperature)
            body = {
                "model": settings.llm_model,
                "messages": request.messages,
                "temperature": request.temperature,
                "top_p": 0.9,
                "max_tokens": settings.llm_max_tokens,
                **settings.llm_extra_body,
            }
            async with free, session.post(f"{settings.llm_base_url}/chat/completions", json=body) as reply:
                return int((await reply.json())["usage"]["completion_tokens"])

        began = time.perf_counter()
        tokens = sum(await asyncio.gather(*map(ask, asked)))
        return TokenUsage(tokens, time.perf_counter() - began)


def through_fleet(client: Client, database: Database, beginning: str, asked: Sequence[str]) -> TokenUsage:
    """Sends questions through the fleet."""
    since = time.time()
    asking = client.post(f"{STORAGE}/query", [body_of(text) for text in asked], CONNECTIONS)
    finished = wait_until_completed(database, beginning, len(asked), since, LONGEST_SECONDS)
    load = asking.result().require(202)
    [(tokens,)] = database.rows(
        """
        SELECT sum(completion_tokens) FROM attempts JOIN questions AS q USING (question_id)
        WHERE q.question_text LIKE %s
        """,
        f"{beginning}%",
    )
    return TokenUsage(int(tokens), finished - load.started)


@study(
    "Which share of the embedded model's tokens/s does the fleet reach?",
    METHOD,
    option("--questions", type=int, default=50, help="questions of each round (default: 50)"),
    option("--rounds", type=int, default=2, help="rounds of each side, alternating (default: 2)"),
)
def main(options: argparse.Namespace, runs: Runs) -> Findings:
    """Measures."""
    client = Client()
    with idle_fleet() as fleet:
        consumers = fleet.containers(SERVICE)
        if not consumers:
            raise MeasurementError(f"no {SERVICE} runs")
        settings = settings_of(consumers[0].attrs["Config"]["Env"])
        in_flight = settings.llm_concurrency
        database = Database()
        for number in range(1, options.rounds + 1):
            for side in (FLEET, STRAIGHT) if number % 2 else (STRAIGHT, FLEET):
                beginning, asked = texts(options.questions)
                if side == FLEET:
                    spent = through_fleet(client, database, beginning, asked)
                else:
                    spent = asyncio.run(straight(settings, in_flight, asked))
                runs.add(summary(side, number, len(asked), spent))
        database.close()
    client.close()
    return Findings([compare(runs)])


if __name__ == "__main__":
    main()
