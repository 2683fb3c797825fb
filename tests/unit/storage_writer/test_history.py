"""Resuming a question from its history in PostgreSQL; the rows are JSON as the database writes it."""

import json
from decimal import Decimal

import pytest

from pipeline import sizes, topics
from pipeline.messages import BestAnswer, Judgement
from pipeline.routing import BertScore, Gate, decide
from storage_writer.history import best_of, resumed
from tests.unit import samples

BEST = BestAnswer(
    llm_response="Scattering.",
    bert_score=0.25,
    bert_precision=0.7,
    bert_recall=0.8,
    bert_f1=0.75,
    attempt=1,
    model="small",
    scorer="scorer",
)


def attempt(number, text="Scattering."):
    return {
        "attempt": number,
        "model": "small",
        "llm_response": text,
        "bert_score": 0.250000,
        "llm_latency_ms": 12,
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "reasoning_tokens": 0,
        "cost": "0.000118400",
        "generated_at": "2026-01-02T03:04:05.123+00:00",
        "judgement": None,
    }


JUDGEMENT = {
    "probability": 0.12345679,
    "problem": "wrong",
    "model": "judge",
    "prompt_tokens": 90,
    "completion_tokens": 1,
    "cost": "0.000012000",
}


ERROR = {
    "attempt": 1,
    "retry": 0,
    "type": "overload",
    "cause": "unavailable",
    "status_code": 503,
    "message": "busy",
    "counts_as_retry": True,
    "times": 2,
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "cost": None,
    "failed_at": "2026-01-02T03:04:06.5+00:00",
    "due_at": None,
}


def test_a_question_with_two_recorded_attempts_resumes_with_the_third():
    question = resumed(
        samples.question(),
        BEST.model_dump_json(),
        json.dumps([attempt(1), attempt(2)]),
        json.dumps([ERROR]),
    )
    assert (question.processing_attempts, question.retry_count, question.waiting_since) == (3, 0, None)
    assert question.best == BEST
    assert [each.attempt for each in question.attempts] == [1, 2]
    assert question.attempts[0].cost == Decimal("0.000118400")
    assert [(each.message, each.times) for each in question.errors] == [("busy", 2)]
    assert question.asked_at == samples.question().asked_at


def test_a_resumed_question_has_the_judgements_of_its_attempts():
    rows = [
        attempt(1) | {"judgement": JUDGEMENT},
        attempt(2) | {"judgement": JUDGEMENT | {"probability": 1}},
        attempt(3),
    ]
    question = resumed(samples.question(), None, json.dumps(rows), None)
    first, second, third = (each.judgement for each in question.attempts)
    assert first == Judgement(**JUDGEMENT | {"cost": Decimal("0.000012")})
    assert (second.probability, third) == (1.0, None)


@pytest.mark.parametrize("no_best", [None, "null"])
def test_a_question_without_history_starts_with_its_first_attempt(no_best):
    assert resumed(samples.question(), no_best, None, None) == samples.question()


def test_the_attempt_number_never_exceeds_the_maximum_of_a_message():
    assert resumed(samples.question(), None, json.dumps([attempt(10)]), None).processing_attempts == 10


@pytest.mark.parametrize("rows", ['[{"attempt": 0}]', "[{}]", '{"attempt": 1}'])
def test_an_unreadable_history_is_ignored(rows):
    assert resumed(samples.question(), None, rows, None) == samples.question()


def test_a_long_history_is_cut_to_the_message_limit_of_the_topic():
    rows = json.dumps([attempt(number, "long " * 60_000) for number in range(1, 5)])
    question = resumed(samples.question(), BEST.model_dump_json(), rows, None)
    assert sizes.fits(topics.QUESTIONS_PENDING, question.question_id.encode(), question.to_bytes())
    assert (question.processing_attempts, question.best) == (5, BEST)


@pytest.mark.parametrize(("earlier", "index"), [(None, 2), (0.1, 2), (0.5, 0)])
def test_the_best_answer_so_far_has_the_index_of_its_reference(earlier, index):
    best = earlier and BEST.model_copy(update={"bert_score": earlier, "reference_index": 0})
    answer = samples.response(references=("Second.", "Third."), best=best)
    bert = BertScore(0.3, 0.3, 0.3, 0.3, "scorer", 2)
    _, low = (routed.message for routed in decide(answer, bert, Gate(0.6, 3, 0.3), samples.NOW))
    assert best_of(low).reference_index == index
