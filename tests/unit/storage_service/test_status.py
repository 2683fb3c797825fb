"""`GET /status`, `/stats`, `/ready` and the document, on fakes of PostgreSQL, Redis and Kafka."""

import json
from datetime import date, timedelta
from decimal import Decimal

import pytest

from pipeline import provider_status
from pipeline.budget import Budget
from pipeline.errors import Unavailable
from pipeline.provider_status import ProviderStatus
from pipeline.question import question_id
from storage_service import app
from storage_service.schemas import Ask, Providers, Statistics
from tests.unit.samples import NOW
from tests.unit.storage_service.fakes import Fleet

ID = question_id("Why is the sky blue?")


def test_status_reports_each_state_of_a_question(fleet):
    fleet.ask()
    pending = fleet.client.get(f"/status/{ID}").json
    assert (pending["status"], pending["result"], pending["error"]) == ("pending", None, None)
    assert (pending["question_id"], pending["question_text"]) == (ID, "Why is the sky blue?")
    assert pending["asked_at"].endswith("Z")
    fleet.records.fail(ID)
    failed = fleet.client.get(f"/status/{ID}").json
    assert (failed["status"], failed["error"]["reason"], failed["result"]) == ("failed", "retries_exhausted", None)
    fleet.records.complete(ID)
    completed = fleet.client.get(f"/status/{ID}").json
    assert (completed["status"], completed["result"]["quality"]) == ("completed", "accepted")


def test_status_with_wait_returns_when_the_question_is_final(fleet):
    fleet.ask()
    fleet.waiters.listen(True)
    fleet.finish_later(ID)
    assert fleet.client.get(f"/status/{ID}?wait=20").json["status"] == "completed"


def test_unknown_id_is_404(fleet):
    for path in ("status", "events"):
        reply = fleet.client.get(f"/{path}/{ID}")
        assert (reply.status_code, reply.content_type) == (404, "application/problem+json")
        assert ID in reply.json["detail"]


@pytest.mark.parametrize("wrong", ["x", "0" * 31, "0" * 33, "A" * 32, "%00", "0" * 32 + "%0A"])
def test_a_malformed_id_is_422_and_named(fleet, wrong):
    for path in ("status", "events"):
        reply = fleet.client.get(f"/{path}/{wrong}")
        assert (reply.status_code, reply.json["errors"][0]["field"]) == (422, "question_id")


def test_statistics_count_questions_and_replies(fleet):
    before = fleet.client.get("/stats").json["replies"]
    fleet.ask()
    fleet.ask()
    fleet.records.complete(ID)
    fleet.ask()
    fleet.ask()
    after = fleet.client.get("/stats").json
    gained = {source: after["replies"][source] - before[source] for source in before}
    assert gained == {"cache": 1, "database": 1, "pending": 2, "failed": 0}
    assert (after["questions"]["pending"], after["asked_total"], after["outbox"], after["mean_score"]) == (
        1,
        3,
        1,
        None,
    )


def test_statistics_include_the_oldest_pending_question_and_open_dead_letters(fleet):
    before = fleet.client.get("/stats").json
    assert (before["oldest_pending_seconds"], before["dead_letters"]) == (None, 0)
    fleet.ask()
    fleet.records.keep_letter()
    after = fleet.client.get("/stats").json
    assert (after["oldest_pending_seconds"], after["dead_letters"]) == (12.5, 1)


def test_budget_returns_the_budget_of_the_day(fleet):
    fleet.budget = Budget(
        day=date(2026, 1, 2),
        spent_tokens=100,
        spent_cost=Decimal("0.00001"),
        budget_tokens=90,
        paused=True,
        resumes_at=NOW,
    )
    assert fleet.client.get("/budget").json == {
        "day": "2026-01-02",
        "spent_tokens": 100,
        "spent_cost": "0.00001",
        "budget_tokens": 90,
        "budget_cost": None,
        "paused": True,
        "resumes_at": "2026-01-02T03:04:05.000Z",
    }


def test_budget_is_503_without_redis(fleet):
    reply = fleet.client.get("/budget")
    assert (reply.status_code, reply.content_type) == (503, "application/problem+json")


LIMITED = ProviderStatus(
    provider="https://api.example.com/v1",
    state="limited",
    cause="rate_limit",
    message="slow down",
    waiting_until=NOW + timedelta(seconds=30),
    requests_per_minute=10,
    limit_source="refusals",
    calls_last_minute=10,
    refused_last_minute=1,
    at=NOW,
)
LIMITED_JSON = {
    "provider": "https://api.example.com/v1",
    "state": "limited",
    "cause": "rate_limit",
    "message": "slow down",
    "waiting_until": "2026-01-02T03:04:35.000Z",
    "requests_per_minute": 10,
    "tokens_per_minute": None,
    "limit_source": "refusals",
    "calls_last_minute": 10,
    "refused_last_minute": 1,
    "tokens_last_minute": 0,
    "in_flight": 0,
    "at": "2026-01-02T03:04:05.000Z",
}


def test_provider_statuses_are_in_providers_and_stats(fleet):
    fleet.providers = [LIMITED]
    assert fleet.client.get("/providers").json == {"providers": [LIMITED_JSON]}
    assert fleet.client.get("/stats").json["providers"] == [LIMITED_JSON]
    fleet.providers = []
    assert fleet.client.get("/providers").json == {"providers": []}


def test_without_redis_providers_is_503_and_stats_has_no_providers(fleet):
    reply = fleet.client.get("/providers")
    assert (reply.status_code, reply.content_type) == (503, "application/problem+json")
    stats = fleet.client.get("/stats")
    assert (stats.status_code, stats.json["providers"]) == (200, [])


class FakeRedis:
    """Fake Redis that holds statuses by provider id; with None it does not answer."""

    def __init__(self, statuses):
        self.statuses = statuses

    def attempt(self, call):
        return None if self.statuses is None else call(self)

    def smembers(self, key):
        assert key == provider_status.INDEX
        return {each.encode() for each in self.statuses}

    def mget(self, keys):
        assert keys, "Redis rejects an MGET without keys"
        return [self.statuses[key.removeprefix(provider_status.status_key(""))] for key in keys]


def test_statuses_of_indexed_providers_are_read():
    stored = LIMITED.model_dump_json().encode()
    assert app._providers(FakeRedis({"gone": None, "a": stored, "strange": b"{"}), NOW) == [LIMITED]
    [later] = app._providers(FakeRedis({"a": stored}), NOW + timedelta(seconds=31))
    assert (later.state, later.waiting_until) == ("open", None)
    assert app._providers(FakeRedis({}), NOW) == []
    with pytest.raises(Unavailable):
        app._providers(FakeRedis(None), NOW)


def test_the_status_includes_the_usage_of_the_question(fleet):
    fleet.ask()
    assert fleet.client.get(f"/status/{ID}").json["usage"] == {
        "attempts": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cost": None,
    }


def refuse_connection():
    raise ConnectionError("refused")


def test_not_ready_without_a_dependency():
    reply = Fleet(checks={"postgres": refuse_connection}).client.get("/ready")
    assert (reply.status_code, reply.json["detail"]) == (503, "postgres: refused")
    assert "Retry-After" in reply.headers


def test_ready_without_redis_but_degraded():
    reply = Fleet(checks={"postgres": bool}, optional={"redis": refuse_connection}).client.get("/ready")
    assert reply.status_code == 200
    assert reply.json == {"status": "degraded", "checks": {"postgres": "ok", "redis": "refused"}}


def test_document_describes_every_route(fleet):
    document = fleet.client.get("/openapi.json").json
    statuses = {path: set(method["responses"]) for path, each in document["paths"].items() for method in each.values()}
    assert statuses["/query"] == {"200", "202", "400", "403", "413", "415", "421", "422", "503"}
    assert statuses["/status/{question_id}"] == {"200", "404", "422", "503"}
    assert statuses["/events/{question_id}"] == {"200", "204", "404", "422", "503"}
    assert statuses["/failed"] == {"200", "422", "503"}
    assert statuses["/failed/{question_id}/retry"] == {"200", "202", "403", "404", "421", "422", "503"}
    assert statuses["/dead-letters"] == {"200", "422", "503"}
    assert statuses["/dead-letters/{letter_id}/replay"] == {"200", "202", "403", "404", "409", "421", "422", "503"}
    assert statuses["/budget"] == {"200", "422", "503"}
    assert statuses["/providers"] == {"200", "422", "503"}
    assert statuses["/stats"] == {"200", "422", "503"}
    for path, each in document["paths"].items():
        for method in each.values():
            for status, response in method["responses"].items():
                if status >= "400":
                    assert list(response["content"]) == ["application/problem+json"], (path, status)


def test_references_of_the_document_resolve_and_its_examples_are_valid(fleet):
    text = fleet.client.get("/openapi.json").text
    document = json.loads(text)
    names = set(document["components"]["schemas"])
    used = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used <= names
    example = document["paths"]["/query"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert Ask.model_validate(example)
    for path, model in (("/providers", Providers), ("/stats", Statistics)):
        content = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        [named] = content["examples"].values()
        assert model.model_validate(named["value"]).providers
