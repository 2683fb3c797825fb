"""Fixtures of the tests against the running fleet; `tests.fleet` has the client they use."""

import threading
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.drills.scripts import REFERENCE
from tests.fleet import Fleet, eventually
from tests.scripted_provider import ScriptedProvider
from tests.workers import Workers


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    """Returns the fleet once no question is pending, including those asked at its start."""
    fleet = Fleet()
    pending = "SELECT count(*) AS n FROM questions WHERE status = 'pending'"
    eventually(lambda: fleet.sql(pending)[0]["n"] == 0, "no question is pending", 120, 1, fleet.written)
    return fleet


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Returns a function that makes texts unique, so that they are new questions."""
    return lambda text: f"{text} ({uuid.uuid4().hex[:12]})"


@pytest.fixture(scope="module")
def scripted(fleet: Fleet) -> Iterator[ScriptedProvider]:
    """A scripted provider in place of the real model, for the tests of one module.

    The fleet's own llm-consumers are stopped meanwhile; one with the same image calls the scripted provider.
    """
    provider = ScriptedProvider()
    try:
        with Workers(fleet, provider.base_url, {"LLM_TIMEOUT": "5"}) as workers:
            yield provider
            print(workers.logs())
    finally:
        provider.close()


@pytest.fixture
def answering(fleet: Fleet, scripted: ScriptedProvider, unique: Callable[[str], str]) -> Iterator[None]:
    """Keeps asking other questions that are answered, so that an error does not look like an outage."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.5):
            fleet.ask(unique("Is anybody else there?"))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    yield
    ended.set()
    thread.join()


@pytest.fixture
def ask_scripted(fleet, scripted, unique):
    """Returns a function that asks a new question with a script and returns its text and its final status."""

    def ask(*steps, reference=REFERENCE, references=None):
        text = unique("At what temperature does water boil?")
        scripted.script(text, *steps)
        reply = fleet.ask(text, reference, references=references)
        assert reply.status_code == 202, reply.text
        return text, fleet.finish(reply.json()["question_id"], 60)

    return ask
