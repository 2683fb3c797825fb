"""The adapters of decision models."""

import json
from datetime import UTC, datetime

import pytest

from judge_service.adapters.decisions import Decisions
from judge_service.adapters.systemone import SystemOne
from pipeline.providers.completions import NoCompletion, Usage
from tests.unit.judge_service.samples import CASE, decisions, systemone

NOW = datetime(2026, 10, 1, tzinfo=UTC)
NAMES = ["correct", "wrong", "incomplete", "off_topic"]
BOTH = pytest.mark.parametrize(
    ("adapter", "reply"), [(Decisions("asked"), decisions), (SystemOne("asked"), systemone)], ids=["openai", "typesafe"]
)


def read(adapter, reply):
    return adapter.read(json.dumps(reply).encode(), NOW)


def failure(adapter, reply):
    with pytest.raises(NoCompletion) as none:
        read(adapter, reply)
    return none.value


def test_decisions_gets_a_list_of_predicates():
    path, fields = Decisions("asked").request(CASE)
    assert path == "/decisions"
    assert fields["model"] == "asked"
    assert CASE.answer in fields["input"]
    assert CASE.references[0] in fields["input"]
    assert [each["name"] for each in fields["questions"]] == NAMES
    assert all(each["type"] == "predicate" and each["instructions"] for each in fields["questions"])


def test_systemone_gets_questions_by_name():
    path, fields = SystemOne("asked").request(CASE)
    assert path == "/systemone"
    assert CASE.answer in fields["state"]
    assert list(fields["questions"]) == NAMES
    assert all(each["type"] == "noul" and each["instructions"] for each in fields["questions"].values())


@BOTH
def test_the_probability_is_that_of_the_first_statement(adapter, reply):
    verdict = read(adapter, reply(correct=0.8))
    assert (verdict.probability, verdict.problem) == (0.8, None)


@BOTH
def test_an_answer_that_is_probably_not_right_has_the_most_probable_problem(adapter, reply):
    assert read(adapter, reply(correct=0.3, wrong=0.2, incomplete=0.6, off_topic=0.1)).problem == "incomplete"


def test_model_and_tokens_are_those_of_the_reply():
    assert read(Decisions("asked"), decisions()).model == "decider-1"
    assert read(Decisions("asked"), decisions()).usage == Usage(180, 0)
    assert read(SystemOne("asked"), systemone()).model == "asked"
    assert read(SystemOne("asked"), systemone()).usage == Usage(170, 4)


def test_a_refusal_is_final():
    refused = {"answers": [{"type": "refusal", "name": "correct"}], "usage": {"input_tokens": 100}}
    none = failure(Decisions("asked"), refused)
    assert none.error.cause == "refused_content"
    assert none.usage == Usage(100, 0)
    assert failure(SystemOne("asked"), {"answers": {"correct": {"type": "refusal"}}}).error.cause == "refused_content"


def test_refused_problems_are_left_out():
    reply = systemone(correct=0.2, wrong=0.9)
    reply["answers"]["wrong"] = {"type": "refusal"}
    assert read(SystemOne("asked"), reply).problem == "incomplete"
    only = {"answers": {"correct": {"noul": 0.2}}}
    assert read(SystemOne("asked"), only).problem is None


@BOTH
@pytest.mark.parametrize("chance", [None, "0.9", 1.5, -0.1, True, float("nan")])
def test_an_answer_that_is_no_probability_is_no_verdict(adapter, reply, chance):
    assert failure(adapter, reply(correct=chance)).error.cause == "no_answer"


@BOTH
@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'"text"', b"{}", b'{"answers": 3}', b"\xff", b"[" * 100_000])
def test_a_body_without_answers_is_no_verdict(adapter, reply, body):
    with pytest.raises(NoCompletion) as none:
        adapter.read(body, NOW)
    assert none.value.error.cause == "no_answer"


@BOTH
def test_an_error_in_the_body_is_classified(adapter, reply):
    assert failure(adapter, {"error": {"code": 429, "message": "Rate limit reached"}}).error.cause == "rate_limit"
    assert failure(adapter, {"error": "invalid api key"}).error.cause == "key"
