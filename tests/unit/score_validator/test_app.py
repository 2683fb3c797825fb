import json
import threading

import pytest

from pipeline import messages
from score_validator.app import create_app
from score_validator.schemas import MAX_BATCH_PAIRS, MAX_BODY_BYTES, MAX_PAIR_REFERENCES, MAX_TEXT_CHARACTERS
from score_validator.settings import ScorerSettings
from tests.unit.score_validator.fakes import NO_TOKENS, NOT_A_NUMBER, UNREADABLE, FakeScorer

SAME = {"candidate": "blue sky", "reference": "blue sky"}
OTHER = {"candidate": "green grass", "reference": "blue sky"}


def fields(response):
    assert response.status_code == 422, response.text
    assert response.content_type == "application/problem+json"
    return {error["field"] for error in response.get_json()["errors"]}


def test_a_score_contains_all_fields(client):
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
        "reference_index": 0,
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
    ("body", "invalid"),
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
        ({"candidate": "a", "reference": None}, {"reference"}),
        ({"candidate": "a", "reference": "b", "references": ["b"]}, {"reference"}),
        ({"candidate": "a", "references": None}, {"references"}),
        ({"candidate": "a", "references": "b"}, {"references"}),
        ({"candidate": "a", "references": []}, {"references"}),
        ({"candidate": "a", "references": ["b"] * (MAX_PAIR_REFERENCES + 1)}, {"references"}),
        ({"candidate": "a", "references": ["b", " ", 5]}, {"references.1", "references.2"}),
        ({"candidate": "a", "references": ["b", "b" * (MAX_TEXT_CHARACTERS + 1)]}, {"references.1"}),
        ({"candidate": "a", "references": [NO_TOKENS, NO_TOKENS]}, {"references.0"}),
        ({"candidate": NOT_A_NUMBER, "references": ["b", "c"]}, {"candidate"}),
    ],
)
def test_an_invalid_field_is_named(client, body, invalid):
    # As bytes, because JSON can contain a lone surrogate as an escape.
    response = client.post("/score", data=json.dumps(body).encode("ascii"), content_type="application/json")
    assert fields(response) == invalid


def test_a_text_of_the_maximum_length_is_accepted(client):
    body = {"candidate": "😀" * MAX_TEXT_CHARACTERS, "reference": "é" * MAX_TEXT_CHARACTERS}
    assert len(json.dumps(body)) < MAX_BODY_BYTES
    assert client.post("/score", json=body).status_code == 200


def test_a_body_that_is_too_large_is_413(client):
    response = client.post("/score", data=b" " * (MAX_BODY_BYTES + 1), content_type="application/json")
    assert response.status_code == 413


def test_a_truncated_text_is_named(client):
    answer = client.post("/score", json={"candidate": "a " * 513, "reference": "a"}).get_json()
    assert (answer["truncated"], answer["truncated_fields"]) == (True, ["candidate"])


@pytest.mark.parametrize("text", ["nul\x00", "😍", "שלום", "你好", "\u202eabc", "\ufeff", "e\u0301", "\U0010ffff"])
def test_any_unicode_text_is_scored(client, text):
    assert client.post("/score", json={"candidate": text, "reference": text}).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"a"', b"null", b"\xff", b'{"candidate": "\xff", "reference": "b"}']
)
def test_a_body_that_is_not_a_json_object_is_400(client, body):
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
    ("pair", "invalid"),
    [
        ({"candidate": "a", "reference": ""}, "pairs.1.reference"),
        ({"candidate": "a", "reference": NO_TOKENS}, "pairs.1.reference"),
        ({"candidate": NOT_A_NUMBER, "reference": "b"}, "pairs.1.candidate"),
        ({"candidate": 1, "reference": "b"}, "pairs.1.candidate"),
        ({"candidate": "a", "references": [NO_TOKENS, NO_TOKENS]}, "pairs.1.references.0"),
        ({"candidate": "a"}, "pairs.1.reference"),
    ],
)
def test_an_invalid_pair_of_a_batch_is_named(client, pair, invalid):
    assert fields(client.post("/score/batch", json={"pairs": [SAME, pair, SAME]})) == {invalid}


@pytest.mark.parametrize(
    ("references", "index"),
    [
        (["green grass", "blue sky", "a blue sky"], 1),
        (["blue", "sky"], 0),  # of equal ones the first
        (["green grass", "yellow sand"], 0),
        (["blue sky"], 0),
        (["green grass"] * (MAX_PAIR_REFERENCES - 1) + ["blue sky"], MAX_PAIR_REFERENCES - 1),
    ],
)
def test_the_best_of_several_references_counts(client, references, index):
    answer = client.post("/score", json={"candidate": "blue sky", "references": references}).get_json()
    alone = client.post("/score", json={"candidate": "blue sky", "reference": references[index]}).get_json()
    assert answer == alone | {"reference_index": index}


@pytest.mark.parametrize("left_out", [UNREADABLE, NO_TOKENS])
@pytest.mark.parametrize(("references", "index"), [(["", "grass"], 1), (["blue", "", "blue sky"], 2)])
def test_a_reference_that_cannot_be_read_or_has_no_words_is_left_out(client, left_out, references, index):
    references = [each or left_out for each in references]
    answer = client.post("/score", json={"candidate": "blue sky", "references": references}).get_json()
    alone = client.post("/score", json={"candidate": "blue sky", "reference": references[index]}).get_json()
    assert answer == alone | {"reference_index": index}


@pytest.mark.parametrize(
    ("candidate", "references", "unreadable"),
    [
        ("blue sky", [UNREADABLE, UNREADABLE], ["reference"]),
        ("blue sky", [NO_TOKENS, UNREADABLE], ["reference"]),
        (UNREADABLE, [UNREADABLE, UNREADABLE], ["candidate", "reference"]),
        (UNREADABLE, [UNREADABLE, "blue sky"], ["candidate"]),
        (UNREADABLE, ["blue sky", NO_TOKENS], ["candidate"]),
    ],
)
def test_an_answer_with_several_references_is_unscorable(client, candidate, references, unreadable):
    body = {"candidate": candidate, "references": references}
    answer = client.post("/score", json=body).get_json()
    assert [answer[name] for name in ("score", "precision", "recall", "f1", "reference_index")] == [None] * 5
    assert (answer["unscorable"], answer["unscorable_fields"]) == ("other_language", unreadable)
    assert client.post("/score/batch", json={"pairs": [SAME, body]}).get_json()["scores"][1] == answer


def test_a_score_that_is_not_a_number_is_an_error_beside_an_unreadable_reference(client):
    body = {"candidate": NOT_A_NUMBER, "references": ["b", UNREADABLE]}
    assert fields(client.post("/score", json=body)) == {"candidate"}


def test_truncation_is_that_of_the_reference_that_counts(client):
    long = "sky " * 513
    answer = client.post("/score", json={"candidate": "blue sky", "references": [long, "blue sky"]}).get_json()
    assert (answer["reference_index"], answer["truncated"]) == (1, False)
    answer = client.post("/score", json={"candidate": "blue sky", "references": ["grass", long]}).get_json()
    assert (answer["reference_index"], answer["truncated_fields"]) == (1, ["reference"])


def test_an_empty_candidate_scores_zero_with_the_first_of_several_references(client, scorer):
    answer = client.post("/score", json={"candidate": " ", "references": ["blue", "sky"]}).get_json()
    assert (answer["f1"], answer["reference_index"], scorer.calls) == (0, 0, [])


def test_a_batch_may_mix_single_and_several_references(client):
    pairs = [SAME, {"candidate": "blue sky", "references": ["grass", "blue sky"]}, OTHER]
    scores = client.post("/score/batch", json={"pairs": pairs}).get_json()["scores"]
    assert [(score["f1"], score["reference_index"]) for score in scores] == [(1, 0), (1, 1), (0, 0)]


def test_each_reference_counts_as_a_pair_for_the_size_of_a_batch(client):
    several = {"candidate": "blue sky", "references": ["blue sky"] * 8}
    assert client.post("/score/batch", json={"pairs": [several] * (MAX_BATCH_PAIRS // 8)}).status_code == 200
    response = client.post("/score/batch", json={"pairs": [several] * (MAX_BATCH_PAIRS // 8) + [SAME]})
    assert fields(response) == {"pairs"}


def test_each_reference_counts_as_a_pair_for_the_queue(app, scorer):
    scorer.released.clear()
    body = {"candidate": "blue sky", "references": ["blue sky", "blue", "sky", "grass"]}
    caller = threading.Thread(target=lambda: app.test_client().post("/score", json=body), daemon=True)
    caller.start()
    assert scorer.entered.acquire(timeout=20)
    assert "score_waiting_pairs 4.0" in app.test_client().get("/metrics").text
    assert app.test_client().post("/score", json=SAME).status_code == 503
    scorer.released.set()
    caller.join(20)


def test_references_that_nobody_waits_for_are_not_computed(app, scorer):
    scorer.released.clear()
    body = {"candidate": "blue sky", "references": ["blue", "sky", "grass"]}
    late = app.test_client().post("/score", json=body, headers={"Prefer": "wait=1"})
    assert late.status_code == 504
    scorer.released.set()
    assert app.test_client().post("/score", json=SAME, headers={"Prefer": "wait=20"}).status_code == 200
    assert [len(batch) for batch in scorer.calls] == [1, 1]


def test_a_full_queue_is_503_with_retry_after(app, scorer):
    scorer.released.clear()
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
    # Requests without work for the model and health checks are still answered.
    assert client.post("/score", json={"candidate": "", "reference": "b"}).status_code == 200
    assert client.get("/health").status_code == client.get("/ready").status_code == 200

    scorer.released.set()
    for caller in callers:
        caller.join(20)
    assert answers == [200] * 4
    assert client.post("/score", json=OTHER).status_code == 200


@pytest.mark.parametrize("path", ["/score", "/score/batch"])
def test_a_pair_that_times_out_in_the_queue_is_503_and_not_computed(app, scorer, path):
    scorer.released.clear()
    caller = threading.Thread(target=lambda: app.test_client().post("/score", json=SAME), daemon=True)
    caller.start()
    assert scorer.entered.acquire(timeout=20)
    body = OTHER if path == "/score" else {"pairs": [OTHER]}
    late = app.test_client().post(path, json=body, headers={"Prefer": "respond-async, wait=1"})
    assert late.status_code == 503
    assert "Retry-After" not in late.headers
    assert late.content_type == "application/problem+json"
    scorer.released.set()
    caller.join(20)
    assert app.test_client().post("/score", json=SAME, headers={"Prefer": "wait=20"}).status_code == 200
    assert [len(batch) for batch in scorer.calls] == [1, 1]


def test_a_pair_that_times_out_in_the_model_is_504(client, scorer):
    scorer.released.clear()
    late = client.post("/score", json=SAME, headers={"Prefer": "wait=1"})
    assert late.status_code == 504
    assert "1 s" in late.get_json()["detail"]


@pytest.mark.parametrize(
    "prefer", ["", "wait", "wait=", "wait=soon", "wait=-1", "wait=0.5", "wait=\u0663", "wait=" + "9" * 30]
)
def test_an_invalid_prefer_header_is_ignored(client, prefer):
    assert client.post("/score", json=SAME, headers={"Prefer": prefer}).status_code == 200


def test_a_failed_request_frees_its_place_in_the_queue(client, scorer):
    scorer.error = RuntimeError("out of memory")
    for _ in range(3):
        assert client.post("/score/batch", json={"pairs": [SAME] * 3}).status_code == 500
    scorer.error = None
    assert client.post("/score", json=SAME).status_code == 200


def test_readiness_and_the_openapi_document_are_served(client):
    assert client.get("/ready").get_json() == {"status": "ready", "checks": {"model": "ok"}}
    document = client.get("/openapi.json").get_json()
    assert {"/score", "/score/batch", "/health", "/ready", "/metrics"} <= set(document["paths"])
    pair = document["components"]["schemas"]["Pair"]
    assert set(pair["required"]) == {"candidate"}
    assert pair["oneOf"] == [{"required": ["reference"]}, {"required": ["references"]}]
    assert "scores are 0" in pair["properties"]["candidate"]["description"]
    assert set(document["paths"]["/score"]["post"]["responses"]) == {"200", "400", "413", "415", "422", "503", "504"}


def test_a_pair_may_have_all_references_of_a_question():
    assert MAX_PAIR_REFERENCES == messages.MAX_REFERENCES + 1
