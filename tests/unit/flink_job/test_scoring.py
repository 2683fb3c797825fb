"""The client of the scorer against a fake scorer over HTTP."""

import asyncio
import gzip
import json
import time

import pytest
from werkzeug import Response

from flink_job.client import MAX_REPLY_BYTES, Rejected
from flink_job.scoring import ScorerClient, parse
from pipeline.routing import BertScore, NoScore

SCORE = {"score": 0.4, "precision": 0.5, "recall": 0.6, "f1": 0.55, "scorer": "fake"}


def score(url, *references):
    async def request_once():
        client = ScorerClient(url, 4, backoff_seconds=(0.01,))
        try:
            return await asyncio.wait_for(client.score("an answer", *(references or ("a reference",))), 20)
        finally:
            await client.close()

    return asyncio.run(request_once())


def test_a_score_is_read_from_the_reply(httpserver):
    httpserver.expect_request(
        "/score", method="POST", json={"candidate": "an answer", "reference": "a reference"}
    ).respond_with_json(SCORE)
    assert score(httpserver.url_for("")) == BertScore(0.4, 0.5, 0.6, 0.55, "fake")


def test_all_references_are_sent_in_one_request(httpserver):
    httpserver.expect_request(
        "/score", method="POST", json={"candidate": "an answer", "references": ["one", "another"]}
    ).respond_with_json(SCORE | {"reference_index": 1})
    assert score(httpserver.url_for(""), "one", "another") == BertScore(0.4, 0.5, 0.6, 0.55, "fake", 1)
    assert len(httpserver.log) == 1


UNSCORABLE = {
    **dict.fromkeys(("score", "precision", "recall", "f1")),
    "scorer": "fake",
    "unscorable": "other_language",
    "unscorable_fields": ["candidate"],
    "warnings": ["repetition"],
}


@pytest.mark.parametrize(("fields", "only_answer"), [(["candidate"], True), (["reference"], False)])
def test_an_unscorable_answer_with_several_references_is_read_from_the_reply(httpserver, fields, only_answer):
    reply = UNSCORABLE | {"unscorable_fields": fields, "reference_index": None}
    httpserver.expect_request("/score").respond_with_json(reply)
    expected = NoScore("other_language", only_answer, ("repetition",))
    assert score(httpserver.url_for(""), "one", "another") == expected


def test_warnings_are_read_from_the_reply(httpserver):
    httpserver.expect_request("/score").respond_with_json(SCORE | {"warnings": ["truncated", "of a later version"]})
    assert score(httpserver.url_for("")).warnings == ("truncated",)


@pytest.mark.parametrize(("fields", "only_answer"), [(["candidate"], True), (["candidate", "reference"], False)])
def test_an_unscorable_pair_is_read_from_the_reply(httpserver, fields, only_answer):
    httpserver.expect_request("/score").respond_with_json(UNSCORABLE | {"unscorable_fields": fields})
    assert score(httpserver.url_for("")) == NoScore("other_language", only_answer, ("repetition",))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [(["candidate"], NoScore("other_language", True, ("repetition",))), (["candidate", "reference"], None)],
)
def test_agreement_of_an_unscorable_answer(httpserver, fields, expected):
    httpserver.expect_request("/score").respond_with_json(UNSCORABLE | {"unscorable_fields": fields})
    assert agreement(httpserver.url_for(""), "one", "two") == expected


def agreement(url, *others):
    async def request_once():
        client = ScorerClient(url, 4, backoff_seconds=(0.01,))
        try:
            return await asyncio.wait_for(client.agreement("an answer", others), 20)
        finally:
            await client.close()

    return asyncio.run(request_once())


def by_reference(request):
    pair = json.loads(request.data)
    assert pair["candidate"] == "an answer"
    if pair["reference"] == "refused":
        return Response('{"detail": "reference: has no words"}', 422)
    found = SCORE | {"score": float(pair["reference"]), "reference_index": 0}
    return Response(json.dumps(found), content_type="application/json")


@pytest.mark.parametrize(("others", "mean"), [(("0.2", "0.4", "0.9"), 0.5), (("0.2", "refused", "0.4"), 0.3)])
def test_agreement_is_the_mean_over_the_samples_that_have_a_score(httpserver, others, mean):
    httpserver.expect_request("/score").respond_with_handler(by_reference)
    found = agreement(httpserver.url_for(""), *others)
    assert (found.score, found.precision, found.scorer) == (pytest.approx(mean), 0.5, "fake")
    assert found.reference_index is None


def test_agreement_is_none_when_no_sample_has_a_score(httpserver):
    httpserver.expect_request("/score").respond_with_handler(by_reference)
    assert agreement(httpserver.url_for(""), "refused", "refused") is None


@pytest.mark.parametrize("status", [429, 502, 503, 504, 500])
def test_calls_to_an_unavailable_scorer_are_retried(httpserver, status):
    for _ in range(3):
        httpserver.expect_oneshot_request("/score").respond_with_data("not now", status)
    httpserver.expect_request("/score").respond_with_json(SCORE)
    assert score(httpserver.url_for("")).f1 == 0.55
    assert len(httpserver.log) >= 4


def test_retry_after_of_a_busy_scorer_is_respected(httpserver):
    calls = []

    def busy_once(_request):
        calls.append(time.monotonic())
        if len(calls) == 1:
            return Response("busy", 503, {"Retry-After": "1"})
        return Response(json.dumps(SCORE), content_type="application/json")

    httpserver.expect_request("/score").respond_with_handler(busy_once)
    assert score(httpserver.url_for("")).score == 0.4
    assert calls[1] - calls[0] >= 1  # the client's own backoff is 0.01 s


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_rejection_by_the_scorer_is_not_retried(httpserver, status):
    httpserver.expect_request("/score").respond_with_json({"detail": "reference: is empty"}, status)
    assert score(httpserver.url_for("")) == Rejected(status, "reference: is empty")
    assert len(httpserver.log) == 1


def test_a_pair_is_refused_when_it_alone_makes_the_scorer_fail(httpserver):
    def only_others(request):
        pair = json.loads(request.data)
        if pair["candidate"] == "an answer":
            return Response("bug", 500)
        return Response(json.dumps(SCORE), content_type="application/json")

    httpserver.expect_request("/score").respond_with_handler(only_others)
    result = score(httpserver.url_for(""))
    assert isinstance(result, Rejected)
    assert result.status_code == 500


def test_a_pair_is_retried_when_the_scorer_recovers_before_its_last_try(httpserver):
    """The scorer fails for eight calls of this pair; just before the eighth it scores other pairs again."""
    calls = []

    def failing_at_first(request):
        mine = json.loads(request.data)["candidate"] == "an answer"
        calls.append(mine)
        failing = sum(calls) <= 8 if mine else sum(calls) < 8
        return Response("bug", 500) if failing else Response(json.dumps(SCORE), content_type="application/json")

    httpserver.expect_request("/score").respond_with_handler(failing_at_first)
    assert score(httpserver.url_for("")) == BertScore(0.4, 0.5, 0.6, 0.55, "fake")


def test_a_call_sends_its_timeout_in_the_prefer_header(httpserver):
    httpserver.expect_request("/score", headers={"Prefer": "wait=15"}).respond_with_json(SCORE)
    assert score(httpserver.url_for("")).score == 0.4


NO_SCORES = [
    *({field: value} for field in ("score", "precision", "recall", "f1") for value in (57, -12, 1.002, "0.9", None)),
    *({"score": value} for value in (True, False, float("nan"), float("inf"), -float("inf"), 10**400, [0.5], {})),
    {"scorer": None},
    {"scorer": 7},
    *({"reference_index": value} for value in (-1, 9, True, 0.0, "0")),
]


@pytest.mark.parametrize("changes", NO_SCORES)
def test_parse_rejects_an_invalid_score(changes):
    with pytest.raises((ValueError, TypeError)):
        parse(json.dumps(SCORE | changes).encode())


@pytest.mark.parametrize("field", ["score", "precision", "recall", "f1", "scorer"])
def test_parse_rejects_a_missing_field(field):
    with pytest.raises(KeyError):
        parse(json.dumps({name: value for name, value in SCORE.items() if name != field}).encode())


@pytest.mark.parametrize("body", [b"", b"0.5", b"null", b"[]", b'"a"', b"\xff", b"[" * 60_000, b'{"score":' * 6_000])
def test_parse_rejects_a_body_that_is_not_a_score_object(body):
    with pytest.raises((ValueError, TypeError)):
        parse(body)


@pytest.mark.parametrize(
    ("found", "kept"), [(1.0000001, 1), (1.0009, 1), (-1.0009, -1), (1, 1), (0, 0), (-0.71, -0.71)]
)
def test_scores_just_beyond_1_are_clipped(found, kept):
    assert parse(json.dumps(SCORE | {"score": found, "f1": found}).encode()) == BertScore(kept, 0.5, 0.6, kept, "fake")


@pytest.mark.parametrize("odd", [json.dumps(SCORE | {"score": 57}), json.dumps(SCORE | {"score": float("nan")}), "x"])
def test_invalid_replies_are_retried_until_a_score_comes(httpserver, odd):
    for _ in range(4):
        httpserver.expect_oneshot_request("/score").respond_with_data(odd, content_type="application/json")
    httpserver.expect_request("/score").respond_with_json(SCORE)
    assert score(httpserver.url_for("")).score == 0.4


@pytest.mark.parametrize(("status", "expected"), [(200, 200), (500, 500), (422, 422)])
def test_only_the_beginning_of_an_endless_reply_is_read(httpserver, status, expected):
    sent = 0

    def endless(request):
        def body():
            nonlocal sent
            for _ in range(10_000):
                sent += 65_536
                yield b" " * 65_536

        if json.loads(request.data)["candidate"] != "an answer":
            return Response(json.dumps(SCORE), content_type="application/json")
        return Response(body(), status, content_type="application/json")

    httpserver.expect_request("/score").respond_with_handler(endless)
    result = score(httpserver.url_for(""))
    assert isinstance(result, Rejected)
    assert result.status_code == expected
    assert len(result.message) < 1000
    assert sent < 10_000 * 65_536, "the whole reply was read"


def test_a_compressed_reply_is_not_decompressed(httpserver):
    packed = gzip.compress(json.dumps(SCORE).encode() + b" " * 10_000_000)
    assert len(packed) < MAX_REPLY_BYTES

    def compressed(request):
        if json.loads(request.data)["candidate"] != "an answer":
            return Response(json.dumps(SCORE), content_type="application/json")
        return Response(packed, headers={"Content-Encoding": "gzip"}, content_type="application/json")

    httpserver.expect_request("/score").respond_with_handler(compressed)
    assert isinstance(score(httpserver.url_for("")), Rejected)


def test_a_redirect_is_not_followed(httpserver):
    def elsewhere(request):
        if json.loads(request.data)["candidate"] != "an answer":
            return Response(json.dumps(SCORE), content_type="application/json")
        return Response("", 307, {"Location": httpserver.url_for("/elsewhere")})

    httpserver.expect_request("/score").respond_with_handler(elsewhere)
    httpserver.expect_request("/elsewhere").respond_with_json(SCORE)
    result = score(httpserver.url_for(""))
    assert isinstance(result, Rejected)
    assert result.status_code == 307


@pytest.mark.parametrize("said", ["[" * 60_000, "<html>", '{"detail": 5}', ""])
def test_a_rejection_with_any_body_is_not_retried(httpserver, said):
    httpserver.expect_request("/score").respond_with_data(said, 422)
    assert score(httpserver.url_for("")) == Rejected(422, said[:300])
