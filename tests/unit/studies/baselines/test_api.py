"""The API that the baselines share."""

from unittest.mock import Mock

import pytest

from pipeline.question import question_id
from studies.baselines.celery.api import application


@pytest.fixture
def store():
    return Mock(find=Mock(return_value=None))


def post(store, body, answer=lambda question: question):
    return application(store, answer).test_client().post("/query", json=body)


def test_an_unknown_question_gets_the_baselines_reply(store):
    body = {"question_text": "q?", "question_context": "c", "original_answer": "r"}
    question = post(store, body).json
    assert question.pop("asked_at")
    assert question == {**body, "question_id": question_id("q?", "c")}


def test_a_cached_answer_is_the_reply(store):
    store.find.return_value = {"llm_response": "a"}
    reply = post(store, {"question_text": "q?"}, answer=None)
    assert (reply.status_code, reply.json["source"], reply.json["result"]) == (200, "cache", {"llm_response": "a"})


@pytest.mark.parametrize("body", [[], {}, {"question_text": " "}, {"question_text": 1}])
def test_without_a_text_it_is_refused(store, body):
    assert post(store, body).status_code == 422


def test_it_is_healthy(store):
    assert application(store, lambda question: question).test_client().get("/health").json == {"status": "ok"}
