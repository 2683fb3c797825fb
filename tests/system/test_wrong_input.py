"""Invalid input is answered with a 4xx problem that names the field, never with a 500."""

import json

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings

from tests.fleet import STORAGE

schema = schemathesis.openapi.from_url(f"{STORAGE}/openapi.json")


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_replies_conform_to_the_openapi_document(case):
    case.call_and_validate(timeout=90)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "question_text"),
        ({"question_text": ""}, "question_text"),
        ({"question_text": "   "}, "question_text"),
        ({"question_text": 7}, "question_text"),
        ({"question_text": None}, "question_text"),
        ({"question_text": "x" * 100_000}, "question_text"),
        ({"question_text": "x\u0000y"}, "question_text"),
        ({"question_text": "x", "original_answer": ["y"]}, "original_answer"),
        ({"question_text": "x", "colour": "blue"}, "colour"),
    ],
)
def test_an_invalid_field_is_named(body, field):
    reply = requests.post(f"{STORAGE}/query", json=body, timeout=15)
    assert reply.status_code == 422
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert [each["field"] for each in reply.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [(b"{", "application/json", 400), (b"[1]", "application/json", 400), (b"a=b", "text/plain", 415)],
)
def test_a_body_that_is_not_json_is_rejected(data, content_type, status):
    reply = requests.post(f"{STORAGE}/query", data=data, headers={"Content-Type": content_type}, timeout=15)
    assert reply.status_code == status
    assert reply.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/status/nobody", "/status/" + "0" * 32, "/events/" + "0" * 32, "/nowhere"])
def test_unknown_paths_and_ids_are_404_or_422(path):
    reply = requests.get(f"{STORAGE}{path}", timeout=15)
    assert reply.status_code in (404, 422)
    assert reply.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("wait", ["-1", "soon", "100000"])
def test_an_invalid_wait_is_named(wait):
    reply = requests.post(f"{STORAGE}/query", params={"wait": wait}, json={"question_text": "x"}, timeout=15)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["field"] == "wait"


ODD_TEXTS = {
    "white space": " \n\t\u3000",
    "100,000 characters": "long " * 20_000,
    "one word of 100,000 characters": "a" * 100_000,
    "100,000 emoji": "😍" * 100_000,
    "a family": "👩‍👩‍👧‍👦",
    "right to left": "\u202eمرحبا بالعالم שלום",  # noqa: RUF001
    "NUL": "nul\x00in the middle",
    "NUL alone": "\x00",
    "lone surrogate": "\ud83d",
    "marks without a letter": "\u0301\u200d\ufeff",
    "what the encoder adds": "[CLS] [SEP] [PAD]",
    "NaN": "NaN",
}


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_the_scorer_scores_or_rejects_any_text(fleet, text):
    usual = "Air scatters blue light more than red light."
    for candidate, reference in ((text, usual), (usual, text), (text, text)):
        # As ASCII, because JSON can represent a lone surrogate only as an escape.
        answer = requests.post(
            "http://score-validator:8000/score",
            data=json.dumps({"candidate": candidate, "reference": reference}).encode("ascii"),
            headers={"Content-Type": "application/json"},
            timeout=30,
        )
        assert answer.status_code in (200, 422), answer.text
        if answer.status_code == 200:
            found = answer.json()
            assert found.get("unscorable") if found["score"] is None else -1 <= found["score"] <= 1
