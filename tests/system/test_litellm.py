"""The embedded model behind a real gateway, LiteLLM's proxy, that admits fewer calls per minute than needed."""

import time
from collections import Counter

from tests.fleet import eventually
from tests.litellm_proxy import MODEL, LiteLlmProxy
from tests.workers import Workers

LLM_SERVER = "http://llm-server:8000/v1"
REQUESTS_PER_MINUTE = 10
QUESTIONS = 25
"""Enough for two and a half minutes: the last ones are admitted at least two minutes after the first."""
DEADLINE_SECONDS = 240
LEAST_SECONDS = 100
"""All questions cannot end in less time, unless the proxy has no limit."""
MOST_REFUSALS = 10


def test_a_limit_of_calls_per_minute_delays_questions_and_fails_none(fleet, unique):
    """An answer without reference is not scored, so that a question takes one admitted call."""
    with LiteLlmProxy(LLM_SERVER, REQUESTS_PER_MINUTE) as proxy:
        settings = {"LLM_MODEL": MODEL, "LLM_API_KEY": proxy.api_key, "LLM_EXTRA_BODY": "{}"}
        with Workers(fleet, proxy.base_url, settings, count=2) as workers:
            began = time.monotonic()
            ids = [fleet.ask(unique(f"Why is the sky blue? {n}")).json()["question_id"] for n in range(QUESTIONS)]

            def all_ended():
                states = Counter(fleet.status(each)["status"] for each in ids)
                assert not states["pending"], (states, proxy.answers())
                return states

            try:
                states = eventually(all_ended, "all questions have ended", DEADLINE_SECONDS, interval=2)
            finally:
                took = time.monotonic() - began
                print(f"{took:.0f} s; calls by status: {dict(proxy.answers())}")
                print(workers.logs())
        assert states == {"completed": QUESTIONS}
        assert took > LEAST_SECONDS
        [failed] = fleet.sql(
            "SELECT coalesce(sum(times), 0) AS calls FROM call_errors WHERE question_id = ANY(%s)", ids
        )
        assert failed["calls"] <= MOST_REFUSALS
        assert proxy.answers()[429] <= MOST_REFUSALS
