"""`PUT /questions/ID/reference`: scoring again with another reference, on fakes of PostgreSQL, Redis and the scorer."""

import json
import math

import pytest
from pytest_httpserver import HTTPServer

from pipeline.errors import Unavailable
from pipeline.question import question_id
from pipeline.routing import BertScore, NoScore
from pipeline.sizes import KEPT_CHARACTERS
from storage_service.correction import Candidate, CannotScore, ScorerClient, candidates, choose

TEXT = "Why is the sky blue?"
ID = question_id(TEXT)
PATH = f"/questions/{ID}/reference"
NEW = {"original_answer": "because of scattering"}


@pytest.fixture
def completed(fleet):
    fleet.ask(TEXT, original_answer="It is green.")
    fleet.records.attempts[ID] = ["it is green", "because of scattering", "because"]
    fleet.records.complete(ID, llm_response="it is green", processing_attempts=3)
    fleet.ask(TEXT)
    return fleet


def test_all_attempts_are_scored_again_and_the_best_is_kept(completed):
    reply = completed.client.put(PATH, json=NEW)
    assert reply.status_code == 200
    assert completed.scorer.calls == [(["it is green", "because of scattering", "because"], NEW["original_answer"])]
    result = reply.json["result"]
    assert (result["llm_response"], result["original_answer"]) == ("because of scattering", NEW["original_answer"])
    assert (result["quality"], result["bert_score"], result["processing_attempts"]) == ("accepted", 1.0, 3)
    assert completed.records.corrected.scores == [(1, 0.0), (2, 1.0), (3, 1.0)], "ties keep the first"
    assert len(completed.publisher.sent) == 1, "no new call of the model"


@pytest.mark.parametrize(
    ("body", "index"),
    [
        ({"original_answer": "green light", "references": ["because of scattering", "because"]}, 1),
        ({"references": ["green light", "because of scattering"]}, 1),
        ({"original_answer": "because of scattering", "references": ["because of scattering ", "green"]}, 0),
    ],
)
def test_several_references_replace_all_earlier_ones_and_the_best_counts(completed, body, index):
    result = completed.client.put(PATH, json=body).json["result"]
    references = [result["original_answer"], *result["references"]]
    given = ([body["original_answer"]] if "original_answer" in body else []) + body["references"]
    assert references == list({each.strip(): each.strip() for each in given})
    assert completed.scorer.calls == [(["it is green", "because of scattering", "because"], *references)]
    assert (result["llm_response"], result["bert_score"]) == ("because of scattering", 1.0)
    assert result["reference_index"] == index
    result = completed.client.put(PATH, json=NEW).json["result"]
    assert (result["references"], result["reference_index"]) == ([], 0)


def test_a_missing_reference_is_named(completed):
    reply = completed.client.put(PATH, json={})
    assert [each["field"] for each in reply.json["errors"]] == ["original_answer"]


def test_the_old_score_is_not_served_from_the_cache(completed):
    completed.client.put(PATH, json=NEW)
    assert completed.ask(TEXT).json["result"]["original_answer"] == NEW["original_answer"]


def test_the_best_answer_is_kept_when_all_are_below_the_threshold(completed):
    reply = completed.client.put(PATH, json={"original_answer": "green light"})
    assert reply.json["result"]["quality"] == "max_retries_reached"
    assert reply.json["status"] == "completed"
    assert len(completed.publisher.sent) == 1


@pytest.mark.parametrize(("reference", "rejected_by"), [("because of scattering", None), ("green light", "score")])
def test_what_a_judge_said_about_the_old_reference_is_removed_and_the_score_alone_decides(
    completed, reference, rejected_by
):
    completed.records.complete(ID, judge={"probability": 0.1, "problem": "wrong", "model": "j"}, rejected_by="judge")
    result = completed.client.put(PATH, json={"original_answer": reference}).json["result"]
    assert (result["judge"], result["rejected_by"]) == (None, rejected_by)


def test_an_unscored_answer_gets_a_score(fleet):
    fleet.ask(TEXT)
    fleet.records.complete(ID, llm_response="because", quality="unscored", bert_score=None, original_answer=None)
    result = fleet.client.put(PATH, json=NEW).json["result"]
    assert (result["quality"], result["bert_score"]) == ("accepted", 1.0)


SCORED = BertScore(0.2, 0.2, 0.2, 0.2, "e", warnings=("repetition",))


def test_an_unreadable_answer_is_not_kept():
    answers = [Candidate(1, "ใช่", "m"), Candidate(2, "Yes.", "m")]
    corrected = choose(["Yes."], answers, [NoScore("other_language", only_answer=True), SCORED], 0.1)
    assert (corrected.kept.attempt, corrected.scores) == (2, [(1, None), (2, 0.2)])
    assert corrected.answer()["warnings"] == ["repetition"]


@pytest.mark.parametrize("only_answer", [True, False])
def test_without_a_readable_answer_or_reference_nothing_is_corrected(only_answer):
    unread = NoScore("other_language", only_answer)
    scores = [unread] if only_answer else [unread, SCORED]
    with pytest.raises(CannotScore, match="cannot read"):
        choose(["Yes."], [Candidate(1, "Yes.", "m")] * len(scores), scores, 0.1)


def test_the_reference_that_counted_is_kept_beside_an_unreadable_one():
    scored = BertScore(0.2, 0.2, 0.2, 0.2, "e", 1)
    corrected = choose(["ใช่", "Yes."], [Candidate(1, "Yes.", "m")], [scored], 0.1)
    assert (corrected.original_answer, corrected.references) == ("ใช่", ("Yes.",))
    assert corrected.answer()["reference_index"] == 1


@pytest.mark.parametrize("how", ["fail", None])
def test_correcting_a_question_without_an_answer_is_409(fleet, how):
    fleet.ask(TEXT)
    if how:
        fleet.records.fail(ID)
    reply = fleet.client.put(PATH, json=NEW)
    assert (reply.status_code, reply.content_type) == (409, "application/problem+json")
    assert "regenerate" in reply.json["detail"]
    assert fleet.scorer.calls == []


def test_a_question_regenerated_during_scoring_is_not_changed(completed):
    completed.scorer.meanwhile = lambda: completed.client.post(f"/questions/{ID}/regenerate")
    assert completed.client.put(PATH, json=NEW).status_code == 409
    assert completed.client.get(f"/status/{ID}").json["status"] == "pending"


@pytest.mark.parametrize(
    ("error", "status"),
    [(Unavailable("The scorer: 503"), 503), (CannotScore("The scorer refuses it: 422"), 422)],
)
def test_nothing_is_changed_when_scoring_fails(completed, error, status):
    before = completed.client.get(f"/status/{ID}").json
    completed.scorer.error = error
    reply = completed.client.put(PATH, json=NEW)
    assert (reply.status_code, reply.content_type) == (status, "application/problem+json")
    assert "scorer" in reply.json["detail"].lower()
    assert completed.client.get(f"/status/{ID}").json == before


@pytest.mark.parametrize("store", ["records", "answers"])
def test_nothing_is_changed_while_a_store_is_unavailable(completed, store):
    getattr(completed, store).unavailable = True
    assert completed.client.put(PATH, json=NEW).status_code == 503
    getattr(completed, store).unavailable = False
    assert completed.client.get(f"/status/{ID}").json["result"]["llm_response"] == "it is green"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"json": {}}, 422),
        ({"json": {"original_answer": None}}, 422),
        ({"json": {"original_answer": " \n"}}, 422),
        ({"json": {"original_answer": "x" * 10_001}}, 422),
        ({"json": {"original_answer": "a\x00b"}}, 422),
        ({"json": NEW | {"colour": "blue"}}, 422),
        ({"json": NEW | {"references": []}}, 422),
        ({"json": NEW | {"references": None}}, 422),
        ({"json": NEW | {"references": ["r", " "]}}, 422),
        ({"json": NEW | {"references": ["r"] * 9}}, 422),
        ({"json": {"original_answer": " ", "references": ["r"]}}, 422),
        ({}, 415),
    ],
)
def test_an_invalid_reference_is_rejected(completed, given, status):
    assert completed.client.put(PATH, **given).status_code == status
    assert completed.scorer.calls == []


def test_unknown_ids_are_404_and_malformed_ids_422(fleet):
    assert fleet.client.put(PATH, json=NEW).status_code == 404
    assert fleet.client.put("/questions/x/reference", json=NEW).status_code == 422


LONG = "word " * 200
CUT = f"{LONG[: KEPT_CHARACTERS - 1]}…"


def test_the_kept_answer_is_scored_in_full_although_its_attempt_was_cut():
    attempts = [Candidate(1, "short", "m"), Candidate(2, CUT, "m")]
    kept = Candidate(None, LONG, "m")
    assert candidates(attempts, kept) == [attempts[0], Candidate(2, LONG, "m")]


def test_a_cut_attempt_is_scored_but_never_kept():
    found = candidates([Candidate(1, CUT, "m"), Candidate(2, "short", "m")], Candidate(None, "short", "m"))
    high, low = (BertScore(each, each, each, each, "s") for each in (0.9, 0.1))
    chosen = choose(["reference"], found, [high, low], 0.5)
    assert chosen.scores == [(1, 0.9), (2, 0.1)]
    assert (chosen.kept.attempt, chosen.quality) == (2, "max_retries_reached")


@pytest.mark.parametrize("attempts", [[], [Candidate(1, "another", "m")]])
def test_a_kept_answer_without_its_attempt_is_scored(attempts):
    kept = Candidate(None, "the answer", "m")
    assert candidates(attempts, kept) == [*attempts, kept]


SCORE = {"score": 1.0000002, "precision": 0.9, "recall": 0.8, "f1": 0.85, "scorer": "fake", "truncated": False}


def test_one_batch_call_is_made_with_the_timeout_in_the_prefer_header(httpserver: HTTPServer):
    httpserver.expect_request("/score/batch", method="POST").respond_with_json({"scores": [SCORE, SCORE]})
    scores = ScorerClient(httpserver.url_for("")).score(["a", "b"], "r")
    assert scores == [BertScore(1.0, 0.9, 0.8, 0.85, "fake")] * 2
    [(request, _)] = httpserver.log
    assert json.loads(request.data) == {
        "pairs": [{"candidate": "a", "reference": "r"}, {"candidate": "b", "reference": "r"}]
    }
    assert request.headers["Prefer"] == "wait=30"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (422, {"title": "Unprocessable Entity", "detail": "pairs.0.reference: blank"}, CannotScore),
        (413, {}, CannotScore),
        (503, {"detail": "busy"}, Unavailable),
        (504, {}, Unavailable),
        (500, {}, Unavailable),
        (200, {"scores": []}, Unavailable),
        (200, {"scores": [SCORE | {"score": "high"}]}, Unavailable),
        (200, {"scores": [SCORE | {"score": 57}]}, Unavailable),
        (200, {"scores": [SCORE | {"score": True}]}, Unavailable),
        (200, {"scores": [SCORE | {"recall": math.nan}]}, Unavailable),
        (200, {"scores": [{"score": 1}]}, Unavailable),
        (200, [], Unavailable),
    ],
)
def test_errors_and_invalid_scores_of_the_scorer_are_raised(httpserver: HTTPServer, status, body, error):
    httpserver.expect_request("/score/batch").respond_with_json(body, status)
    with pytest.raises(error):
        ScorerClient(httpserver.url_for("")).score(["a"], "r")


def test_all_references_are_sent_with_each_answer(httpserver: HTTPServer):
    reply = {"scores": [SCORE | {"reference_index": 1}, SCORE | {"reference_index": 0}]}
    httpserver.expect_request("/score/batch", method="POST").respond_with_json(reply)
    scores = ScorerClient(httpserver.url_for("")).score(["a", "b"], "r", "s")
    assert [each.reference_index for each in scores] == [1, 0]
    [(request, _)] = httpserver.log
    assert json.loads(request.data) == {
        "pairs": [{"candidate": "a", "references": ["r", "s"]}, {"candidate": "b", "references": ["r", "s"]}]
    }


def test_an_unreachable_scorer_raises_unavailable():
    with pytest.raises(Unavailable):
        ScorerClient("http://127.0.0.1:1").score(["a"], "r")
