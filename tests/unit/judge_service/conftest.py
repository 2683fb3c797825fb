from types import SimpleNamespace

import pytest

from judge_service.adapters.chat import Chat
from judge_service.adapters.decisions import Decisions
from judge_service.adapters.systemone import SystemOne
from judge_service.app import create_app
from judge_service.calls import Caller
from judge_service.judge import Judge
from judge_service.notes import Notes
from judge_service.settings import JudgeSettings
from pipeline.providers.provider import Provider
from tests.unit.judge_service.fakes import FakeAdmission, FakeBudget, FakeCache

ADAPTERS = {"chat": lambda model: Chat(model, 16), "decisions": Decisions, "systemone": SystemOne}
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def make(httpserver):
    """Makes the service with a provider over HTTP; the keywords are settings, and the judge's patience."""
    callers = []

    def made(patience=0.0, **changes):
        values = {
            "judge_model": "judge-1",
            "judge_base_url": httpserver.url_for("/v1"),
            "judge_api_key": KEY,
            "judge_timeout": 5,
            "llm_prices": "judge-1=1/4",
        }
        settings = JudgeSettings(**(values | changes))
        caller = Caller(settings.target, ADAPTERS[settings.judge_api](settings.judge_model), settings.judge_timeout)
        callers.append(caller)
        admission, cache, budget, notes = FakeAdmission(), FakeCache(), FakeBudget(), Notes()
        provider = Provider(settings.target, caller.call, admission, settings.judge_max_tokens)
        judge = Judge(caller, provider, cache, budget, notes, patience)
        app = create_app(judge, notes, lambda: None)
        return SimpleNamespace(
            client=app.test_client(), judge=judge, admission=admission, cache=cache, budget=budget, notes=notes
        )

    yield made
    for each in callers:
        each.close()


@pytest.fixture
def service(make):
    return make()
