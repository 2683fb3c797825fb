"""`GET /status`, `/stats`, `/ready` and the document, on fakes of PostgreSQL, Redis and Kafka."""

import json
from datetime import date
from decimal import Decimal

import pytest

from pipeline.budget import Budget
from pipeline.question import question_id
from storage_service.schemas import Ask
from tests.unit.samples import NOW
from tests.unit.storage_service.fakes import Fleet

ID = question_id("Why is the sky blue?")


def test_states_of_a_question(fleet):
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


def test_status_waits(fleet):
    fleet.ask()
    fleet.bells.listen(True)
    fleet.finish_later(ID)
    assert fleet.client.get(f"/status/{ID}?wait=20").json["status"] == "completed"


def test_unknown_id_is_404(fleet):
    for path in ("status", "events"):
        reply = fleet.client.get(f"/{path}/{ID}")
        assert (reply.status_code, reply.content_type) == (404, "application/problem+json")
        assert ID in reply.json["detail"]


@pytest.mark.parametrize("wrong", ["x", "0" * 31, "0" * 33, "A" * 32, "%00", "0" * 32 + "%0A"])
def test_malformed_id_is_named(fleet, wrong):
    for path in ("status", "events"):
        reply = fleet.client.get(f"/{path}/{wrong}")
        assert (reply.status_code, reply.json["errors"][0]["field"]) == (422, "question_id")


def test_statistics(fleet):
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


def test_the_budget_of_the_day(fleet):
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


def test_without_redis_nobody_can_tell_the_budget(fleet):
    reply = fleet.client.get("/budget")
    assert (reply.status_code, reply.content_type) == (503, "application/problem+json")


def test_a_state_says_what_the_question_took(fleet):
    fleet.ask()
    assert fleet.client.get(f"/status/{ID}").json["usage"] == {
        "attempts": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cost": None,
    }


def away():
    raise ConnectionError("refused")


def test_not_ready_without_a_dependency():
    reply = Fleet(checks={"postgres": away}).client.get("/ready")
    assert (reply.status_code, reply.json["detail"]) == (503, "postgres: refused")
    assert "Retry-After" in reply.headers


def test_ready_without_redis_but_degraded():
    reply = Fleet(checks={"postgres": bool}, optional={"redis": away}).client.get("/ready")
    assert reply.status_code == 200
    assert reply.json == {"status": "degraded", "checks": {"postgres": "ok", "redis": "refused"}}


def test_document_describes_every_route(fleet):
    document = fleet.client.get("/openapi.json").json
    statuses = {path: set(method["responses"]) for path, each in document["paths"].items() for method in each.values()}
    assert statuses["/query"] == {"200", "202", "400", "413", "415", "422", "503"}
    assert statuses["/status/{question_id}"] == {"200", "404", "422", "503"}
    assert statuses["/events/{question_id}"] == {"200", "204", "404", "422", "503"}
    assert statuses["/failed"] == {"200", "422", "503"}
    assert statuses["/failed/{question_id}/retry"] == {"200", "202", "404", "422", "503"}
    assert statuses["/budget"] == {"200", "422", "503"}
    assert statuses["/stats"] == {"200", "422", "503"}
    for path, each in document["paths"].items():
        for method in each.values():
            for status, response in method["responses"].items():
                if status >= "400":
                    assert list(response["content"]) == ["application/problem+json"], (path, status)


def test_document_resolves_and_its_example_is_valid(fleet):
    text = fleet.client.get("/openapi.json").text
    document = json.loads(text)
    names = set(document["components"]["schemas"])
    used = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used <= names
    example = document["paths"]["/query"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert Ask.model_validate(example)
