import json
import threading

import pytest

from score_validator.app import create_app
from score_validator.schemas import MAX_BATCH_PAIRS, MAX_BODY_BYTES, MAX_TEXT_CHARACTERS
from score_validator.settings import ScorerSettings
from tests.unit.score_validator.fakes import NO_TOKENS, NOT_A_NUMBER, UNREADABLE, FakeScorer

SAME = {"candidate": "blue sky", "reference": "blue sky"}
OTHER = {"candidate": "green grass", "reference": "blue sky"}


def fields(response):
    assert response.status_code == 422, response.text
    assert response.content_type == "application/problem+json"
    return {error["field"] for error in response.get_json()["errors"]}


def test_a_score_has_every_part(client):
    response = client.post("/score", json={"candidate": "a blue sky above", "reference": "blue sky"})
    assert response.status_code == 200
    assert response.get_json() == {
        "score": pytest.approx((2 / 3 - 0.2) / 0.8),
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
        "baseline": 0.2,
        "scorer": "fake/words",
        "truncated": False,
        "truncated_fields": [],
        "unscorable": None,
        "unscorable_fields": [],
        "warnings": [],
    }


def test_an_unscorable_pair_has_a_reason_and_no_numbers(client):
    before = client.get("/metrics").text
    pairs = [SAME, {"candidate": UNREADABLE, "reference": "blue sky"}]
    scored, unscorable = client.post("/score/batch", json={"pairs": pairs}).get_json()["scores"]
    assert scored["score"] == 1
    assert [unscorable[name] for name in ("score", "precision", "recall", "f1")] == [None] * 4
    assert (unscorable["unscorable"], unscorable["unscorable_fields"]) == ("other_language", ["candidate"])
    assert client.post("/score", json=pairs[1]).get_json() == unscorable
    name = 'score_unscorable_pairs_total{reason="other_language"}'
    assert count(client.get("/metrics").text, name) - count(before, name) == 2


def test_warnings_are_in_the_reply_and_counted(client):
    before = client.get("/metrics").text
    answer = client.post("/score", json={"candidate": "a " * 513, "reference": "a"}).get_json()
    assert answer["warnings"] == ["truncated"]
    name = 'score_warnings_total{warning="truncated"}'
    assert count(client.get("/metrics").text, name) - count(before, name) == 1


def count(metrics, name):
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(name))


@pytest.mark.parametrize("blank", ["", " ", "\n\t\r ", "\u3000\u00a0"])
def test_an_empty_candidate_scores_zero_without_the_model(client, scorer, blank):
    answer = client.post("/score", json={"candidate": blank, "reference": "blue sky"}).get_json()
    assert (answer["precision"], answer["recall"], answer["f1"]) == (0, 0, 0)
    assert answer["score"] == pytest.approx(-0.25)
    assert scorer.calls == []


def test_without_a_baseline_the_score_is_raw():
    scorer = FakeScorer()
    scorer.baseline = None
    client = create_app(ScorerSettings(), scorer).test_client()
    answer = client.post("/score", json={"candidate": "a blue sky above", "reference": "blue sky"}).get_json()
    assert (answer["score"], answer["baseline"]) == (answer["f1"], None)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"candidate": "a", "reference": ""}, {"reference"}),
        ({"candidate": "a", "reference": " \n\u3000"}, {"reference"}),
        ({"candidate": "", "reference": ""}, {"reference"}),
        ({"candidate": "a", "reference": NO_TOKENS}, {"reference"}),
        ({"candidate": NOT_A_NUMBER, "reference": "b"}, {"candidate"}),
        ({"candidate": "a"}, {"reference"}),
        ({}, {"candidate", "reference"}),
        ({"candidate": None, "reference": 5}, {"candidate", "reference"}),
        ({"candidate": ["a"], "reference": {"b": 1}}, {"candidate", "reference"}),
        ({"candidate": "a" * (MAX_TEXT_CHARACTERS + 1), "reference": "b"}, {"candidate"}),
        ({"candidate": "a", "reference": "b" * (MAX_TEXT_CHARACTERS + 1)}, {"reference"}),
        ({"candidate": "\ud800", "reference": "b\udfff"}, {"candidate", "reference"}),
    ],
)
def test_wrong_input_names_the_field(client, body, wrong):
    # As bytes: a lone surrogate can be written in JSON, as an escape.
    response = client.post("/score", data=json.dumps(body).encode("ascii"), content_type="application/json")
    assert fields(response) == wrong


def test_the_longest_text_fits(client):
    body = {"candidate": "😀" * MAX_TEXT_CHARACTERS, "reference": "é" * MAX_TEXT_CHARACTERS}
    assert len(json.dumps(body)) < MAX_BODY_BYTES
    assert client.post("/score", json=body).status_code == 200


def test_a_longer_body_is_413(client):
    response = client.post("/score", data=b" " * (MAX_BODY_BYTES + 1), content_type="application/json")
    assert response.status_code == 413


def test_truncation_names_the_text(client):
    answer = client.post("/score", json={"candidate": "a " * 513, "reference": "a"}).get_json()
    assert (answer["truncated"], answer["truncated_fields"]) == (True, ["candidate"])


@pytest.mark.parametrize("text", ["nul\x00", "😍", "שלום", "你好", "\u202eabc", "\ufeff", "e\u0301", "\U0010ffff"])
def test_any_text_gets_an_answer(client, text):
    assert client.post("/score", json={"candidate": text, "reference": text}).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"a"', b"null", b"\xff", b'{"candidate": "\xff", "reference": "b"}']
)
def test_what_is_no_json_object_is_400(client, body):
    assert client.post("/score", data=body, content_type="application/json").status_code == 400


def test_another_content_type_is_415(client):
    assert client.post("/score", data="candidate=a").status_code == 415


def test_a_batch_keeps_its_order(client):
    pairs = [SAME, OTHER, {"candidate": "", "reference": "b"}, SAME | {"candidate": "blue"}]
    answer = client.post("/score/batch", json={"pairs": pairs}).get_json()
    assert [score["recall"] for score in answer["scores"]] == [1, 0, 0, 0.5]


@pytest.mark.parametrize(("size", "status"), [(0, 422), (1, 200), (MAX_BATCH_PAIRS, 200), (MAX_BATCH_PAIRS + 1, 422)])
def test_the_size_of_a_batch_is_limited(client, size, status):
    response = client.post("/score/batch", json={"pairs": [SAME] * size})
    assert response.status_code == status
    if status == 422:
        assert fields(response) == {"pairs"}
    else:
        assert len(response.get_json()["scores"]) == size


@pytest.mark.parametrize(
    ("pair", "wrong"),
    [
        ({"candidate": "a", "reference": ""}, "pairs.1.reference"),
        ({"candidate": "a", "reference": NO_TOKENS}, "pairs.1.reference"),
        ({"candidate": NOT_A_NUMBER, "reference": "b"}, "pairs.1.candidate"),
        ({"candidate": 1, "reference": "b"}, "pairs.1.candidate"),
    ],
)
def test_a_wrong_pair_of_a_batch_is_named(client, pair, wrong):
    assert fields(client.post("/score/batch", json={"pairs": [SAME, pair, SAME]})) == {wrong}


def test_a_full_queue_is_503_with_a_time_to_come_back(app, scorer):
    scorer.may_go.clear()
    answers = []

    def ask():
        answers.append(app.test_client().post("/score", json=SAME).status_code)

    callers = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    for caller in callers:
        caller.start()
    assert scorer.entered.acquire(timeout=20)
    client = app.test_client()
    metric = "score_waiting_pairs 4.0"
    deadline = threading.Event()
    for _ in range(200):
        if metric in client.get("/metrics").text:
            break
        deadline.wait(0.05)
    assert metric in client.get("/metrics").text

    refused = client.post("/score", json=OTHER)
    assert refused.status_code == 503
    assert refused.content_type == "application/problem+json"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert client.post("/score/batch", json={"pairs": [OTHER]}).status_code == 503
    # What costs nothing is answered all the same, and so is the health check.
    assert client.post("/score", json={"candidate": "", "reference": "b"}).status_code == 200
    assert client.get("/health").status_code == client.get("/ready").status_code == 200

    scorer.may_go.set()
    for caller in callers:
        caller.join(20)
    assert answers == [200] * 4
    assert client.post("/score", json=OTHER).status_code == 200


@pytest.mark.parametrize("path", ["/score", "/score/batch"])
def test_a_caller_whose_time_is_over_is_told_and_its_pair_is_not_computed(app, scorer, path):
    scorer.may_go.clear()
    caller = threading.Thread(target=lambda: app.test_client().post("/score", json=SAME), daemon=True)
    caller.start()
    assert scorer.entered.acquire(timeout=20)
    body = OTHER if path == "/score" else {"pairs": [OTHER]}
    late = app.test_client().post(path, json=body, headers={"Prefer": "respond-async, wait=1"})
    assert late.status_code == 503
    assert "Retry-After" not in late.headers
    assert late.content_type == "application/problem+json"
    scorer.may_go.set()
    caller.join(20)
    assert app.test_client().post("/score", json=SAME, headers={"Prefer": "wait=20"}).status_code == 200
    assert [len(batch) for batch in scorer.calls] == [1, 1]


def test_a_pair_that_the_model_does_not_get_done_in_the_callers_time_is_504(client, scorer):
    scorer.may_go.clear()
    late = client.post("/score", json=SAME, headers={"Prefer": "wait=1"})
    assert late.status_code == 504
    assert "1 s" in late.get_json()["detail"]


@pytest.mark.parametrize(
    "prefer", ["", "wait", "wait=", "wait=soon", "wait=-1", "wait=0.5", "wait=\u0663", "wait=" + "9" * 30]
)
def test_a_preference_that_cannot_be_read_is_ignored(client, prefer):
    assert client.post("/score", json=SAME, headers={"Prefer": prefer}).status_code == 200


def test_a_failure_frees_its_place(client, scorer):
    scorer.error = RuntimeError("out of memory")
    for _ in range(3):
        assert client.post("/score/batch", json={"pairs": [SAME] * 3}).status_code == 500
    scorer.error = None
    assert client.post("/score", json=SAME).status_code == 200


def test_ready_and_openapi(client):
    assert client.get("/ready").get_json() == {"status": "ready", "checks": {"model": "ok"}}
    document = client.get("/openapi.json").get_json()
    assert {"/score", "/score/batch", "/health", "/ready", "/metrics"} <= set(document["paths"])
    pair = document["components"]["schemas"]["Pair"]
    assert set(pair["required"]) == {"candidate", "reference"}
    assert "scores are 0" in pair["properties"]["candidate"]["description"]
    assert set(document["paths"]["/score"]["post"]["responses"]) == {"200", "400", "413", "415", "422", "503", "504"}
