"""Protection against foreign web pages in a browser on the machine: cross-site requests and DNS rebinding."""

import pytest

from pipeline.question import question_id
from tests.unit.storage_service.fakes import Fleet

ID = question_id("Why is the sky blue?")
EVIL = {"Origin": "https://evil.example"}
OWN = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
CHANGES = ["/query", f"/failed/{ID}/retry", "/dead-letters/1/replay"]


OTHERS = [
    ("DELETE", f"/questions/{ID}"),
    ("POST", f"/questions/{ID}/regenerate"),
    ("PUT", f"/questions/{ID}/reference"),
]


@pytest.mark.parametrize(("method", "path"), OTHERS)
def test_a_foreign_page_cannot_delete_regenerate_or_correct(fleet, method, path):
    fleet.ask()
    fleet.records.complete(ID)
    body = {"original_answer": "Wrong."} if method != "DELETE" else None
    assert fleet.client.open(path, method=method, json=body, headers=EVIL).status_code == 403
    assert fleet.client.get(f"/status/{ID}").json["status"] == "completed"
    assert fleet.scorer.calls == []
    assert fleet.client.open(path, method=method, json=body, headers=OWN).status_code in (200, 202, 204)


def post(fleet, path, headers):
    body = {"question_text": "Why is the sky blue?"} if path == "/query" else None
    return fleet.client.post(path, json=body, headers=headers)


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize(
    "headers",
    [EVIL, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
    ids=["origin", "no address", "cross-site", "same-site"],
)
def test_a_foreign_page_cannot_ask_retry_or_replay(fleet, path, headers):
    fleet.ask()
    fleet.records.fail(ID)
    fleet.records.keep_letter()
    reply = post(fleet, path, headers)
    assert (reply.status_code, reply.content_type) == (403, "application/problem+json")
    assert "ALLOWED_ORIGINS" in reply.json["detail"]
    assert len(fleet.publisher.sent) == 1


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("headers", [{}, OWN], ids=["a tool", "an own page"])
def test_tools_and_own_pages_are_accepted(fleet, path, headers):
    fleet.ask()
    fleet.records.fail(ID)
    fleet.records.keep_letter()
    assert post(fleet, path, headers).status_code == 202
    assert len(fleet.publisher.sent) == 2


def test_a_foreign_page_may_read(fleet):
    assert fleet.client.get("/stats", headers=EVIL).status_code == 200


@pytest.mark.parametrize("path", ["/stats", "/health", "/openapi.json"])
def test_a_foreign_host_name_is_rejected_with_and_without_an_origin(fleet, path):
    reply = fleet.client.get(path, headers={"Host": "evil.example:5001"})
    assert (reply.status_code, reply.content_type) == (421, "application/problem+json")
    assert "ALLOWED_HOSTS" in reply.json["detail"]
    rebound = {"Host": "evil.example:5001", "Origin": "http://evil.example:5001", "Sec-Fetch-Site": "same-origin"}
    assert post(fleet, "/query", rebound).status_code == 421
    assert fleet.publisher.sent == []


@pytest.mark.parametrize("host", ["127.0.0.1:5001", "[::1]:5001", "storage-service:5001", "192.168.1.7:5001"])
def test_own_host_names_are_accepted(fleet, host):
    assert fleet.client.get("/health", headers={"Host": host}).status_code == 200


def test_settings_allow_further_host_names_and_origins():
    fleet = Fleet(allowed_hosts="fleet.example, other.example", allowed_origins="https://page.example")
    headers = {"Host": "fleet.example:5001", "Origin": "https://page.example", "Sec-Fetch-Site": "cross-site"}
    assert post(fleet, "/query", headers).status_code == 202
    assert post(fleet, "/query", headers | EVIL).status_code == 403
