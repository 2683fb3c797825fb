"""The synchronous service's one way of a question, with scripted model, scorer and store."""

import threading

import pytest
import requests

from studies.baselines.celery.generations import judged
from studies.baselines.synchronous.answering import Answering, GaveUp, pause_seconds
from tests.unit.studies.baselines.refusals import refusal


class Scripted:
    """Model, scorer and store in one; each step of the model is an answer or an error."""

    def __init__(self, *steps, scores=(1.0,), status="pending"):
        self.steps, self.scores, self.status = list(steps), list(scores), status
        self.kept, self.forgotten, self.calls, self.now, self.pauses = [], [], 0, 0.0, []
        self.lines = threading.Event()
        self.lines.set()
        self.asked = threading.Event()

    def ask(self, question):
        if "best" not in question:  # the store is asked before there are generations
            return self.status == "pending", self.status
        self.calls += 1
        self.asked.set()
        self.lines.wait(10)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        attempt = len(question["attempts"]) + 1
        return {"attempt": attempt, "llm_response": step, "model": "scripted"}

    def score(self, candidate, reference):
        score = self.scores.pop(0)
        if isinstance(score, Exception):
            raise score
        return {"score": score, "precision": 0, "recall": 0, "f1": 0, "scorer": "scripted"}

    def read(self, question_id):
        return {"llm_response": "from the database"}

    def complete(self, answer):
        self.kept.append(answer)

    def forget(self, question_id):
        self.forgotten.append(question_id)

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


def answering(scripted):
    return Answering(
        scripted,
        scripted,
        scripted,
        concurrency=1,
        budget_seconds=55,
        threshold=0.5,
        max_attempts=3,
        sleep=scripted.sleep,
        clock=lambda: scripted.now,
    )


def question(reference="A reference."):
    return {
        "question_id": "7",
        "question_text": "Why?",
        "question_context": None,
        "original_answer": reference,
        "asked_at": "2026-01-31T12:00:00+00:00",
    }


def test_a_good_answer_is_kept():
    scripted = Scripted("Yes.")
    assert answering(scripted).answer(question())["llm_response"] == "Yes."
    assert [(each["quality"], each["processing_attempts"]) for each in scripted.kept] == [("accepted", 1)]


def test_the_best_of_three_is_kept():
    scripted = Scripted("a", "b", "c", scores=(0.1, 0.4, 0.2))
    assert answering(scripted).answer(question())["llm_response"] == "b"
    assert scripted.kept[0]["quality"] == "max_retries_reached"
    assert [each["bert_score"] for each in scripted.kept[0]["attempts"]] == [0.1, 0.4, 0.2]


def test_without_a_reference_nothing_is_scored():
    scripted = Scripted("a", scores=())
    answering(scripted).answer(question(reference=None))
    assert scripted.kept[0]["quality"] == "unscored"


def test_errors_are_retried_and_the_provider_is_heard():
    scripted = Scripted(refusal(503), refusal(429, headers={"Retry-After": "5"}), "Yes.")
    answering(scripted).answer(question())
    first, second = scripted.pauses
    assert 0.25 <= first <= 0.5
    assert second == 5


def test_a_scorer_that_is_away_burns_no_attempt():
    scripted = Scripted("Yes.", scores=(requests.ConnectionError(), 0.9))
    answering(scripted).answer(question())
    assert (scripted.calls, scripted.kept[0]["processing_attempts"]) == (1, 1)


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [(refusal(401), 502, None), (refusal(429, body="insufficient_quota"), 503, 60)],
)
def test_what_cannot_be_in_time_is_given_up_at_once_and_taken_back(error, status, retry_after):
    scripted = Scripted(error)
    with pytest.raises(GaveUp) as gave_up:
        answering(scripted).answer(question())
    assert (gave_up.value.status, gave_up.value.retry_after) == (status, retry_after)
    assert (scripted.forgotten, scripted.kept, scripted.pauses) == (["7"], [], [])


def test_it_gives_up_before_its_client_does():
    scripted = Scripted(*[refusal(503)] * 100)
    with pytest.raises(GaveUp):
        answering(scripted).answer(question())
    assert 40 < scripted.now < 55


def test_a_known_answer_costs_no_call():
    scripted = Scripted(status="completed")
    assert answering(scripted).answer(question()) == {"llm_response": "from the database"}
    assert scripted.calls == 0


def test_the_same_question_joins_the_one_in_flight():
    scripted = Scripted("Yes.")
    scripted.lines.clear()
    service = answering(scripted)
    first = threading.Thread(target=service.answer, args=[question()])
    first.start()
    assert scripted.asked.wait(10)
    flight = service._flights["7"]
    result = flight.result

    def joined(timeout):
        scripted.lines.set()  # the model answers only once somebody has joined
        return result(timeout)

    flight.result = joined
    assert service.answer(question())["llm_response"] == "Yes."
    first.join(10)
    assert scripted.calls == 1
    assert service._flights == {}


def test_pauses_grow_to_a_limit_and_are_spread():
    assert [pause_seconds(refusal(503), retries, 1) for retries in (0, 1, 4, 9)] == [0.5, 1, 8, 8]
    assert pause_seconds(refusal(503), 1, 0) == 0.5
    assert pause_seconds(refusal(400), 0, 0) is None


def test_a_bad_generation_is_asked_again_until_the_last():
    attempt = {"attempt": 1, "llm_response": "a"}
    asked = judged({"best": None, "attempts": [attempt]}, Scripted().score("a", "b") | {"score": 0.1}, 0.5, 3)
    assert "quality" not in asked
    assert asked["best"]["bert_score"] == 0.1
