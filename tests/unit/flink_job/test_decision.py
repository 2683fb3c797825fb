import json

import pytest

from flink_job.client import Rejected
from flink_job.decision import Record, decide
from pipeline import messages, topics
from pipeline.messages import Attempt, BestAnswer, Judgement
from pipeline.routing import BertScore, Gate, NoScore
from tests.unit import samples

GATE = Gate(threshold=0.5, max_attempts=3, self_check_threshold=0.3)


def record(message=None, **changes):
    message = message or samples.response()
    fields = {"key": message.question_id.encode(), "value": message.to_bytes(), "partition": 1, "offset": 9}
    return Record(**fields | changes)


def score(value):
    return BertScore(value, value, value, value, "encoder/layer6")


@pytest.mark.parametrize(
    ("attempt", "f1", "verdict", "topic_names"),
    [
        (1, 0.5, "accepted", [topics.VALIDATED]),
        (1, 0.4, "regenerate", [topics.QUESTIONS_PENDING, topics.LOW_QUALITY]),
        (3, 0.4, "max_retries_reached", [topics.VALIDATED, topics.LOW_QUALITY]),
        (1, None, "unscored", [topics.VALIDATED]),
    ],
)
def test_each_verdict_sends_the_answer_to_its_topics(attempt, f1, verdict, topic_names):
    answer = samples.response(processing_attempts=attempt)
    found = decide(record(answer), None if f1 is None else score(f1), GATE, samples.NOW)
    assert (found.verdict, [each.topic for each in found.sent]) == (verdict, topic_names)
    for each in found.sent:
        assert each.key == answer.question_id.encode()
        messages.read(each.topic, each.key, each.value)


def test_an_answer_that_the_judge_rejects_is_asked_again_and_recorded():
    judgement = Judgement(probability=0.2, problem="wrong", model="judge")
    found = decide(record(), score(0.9), GATE, samples.NOW, judgement)
    assert (found.verdict, [each.topic for each in found.sent]) == (
        "regenerate",
        [topics.QUESTIONS_PENDING, topics.LOW_QUALITY],
    )
    assert (found.log_fields["judged_right"], found.log_fields["problem"]) == (0.2, "wrong")
    low = messages.read(found.sent[1].topic, found.sent[1].key, found.sent[1].value)
    assert (low.rejected_by, low.judgement) == ("judge", judgement)


@pytest.mark.parametrize("changes", [{"value": b"{"}, {"value": None}, {"key": None}, {"value": b"\xff"}])
def test_an_unreadable_record_becomes_a_dead_letter_with_its_bytes(changes):
    poison = record(**changes)
    found = decide(poison, None, GATE, samples.NOW)
    [sent] = found.sent
    assert (found.verdict, sent.topic, sent.key) == ("malformed", topics.PERMANENT, poison.key)
    message = messages.read(topics.PERMANENT, sent.key, sent.value)
    expected = messages.DeadLetter.of(poison.key, poison.value, poison.source, message.error, samples.NOW)
    assert message == expected


def test_an_answer_rejected_by_the_scorer_fails_permanently():
    found = decide(record(), Rejected(422, "reference: is empty"), GATE, samples.NOW)
    [sent] = found.sent
    message = messages.read(topics.PERMANENT, sent.key, sent.value)
    assert (message.reason, message.error.status_code) == ("not_retryable", 422)
    assert "reference: is empty" in message.error.message


def test_a_history_too_large_for_a_message_is_shortened():
    answer = samples.response(llm_response="a" * 600_000)
    again, _ = decide(record(answer), score(0.1), GATE, samples.NOW).sent
    message = messages.read(again.topic, again.key, again.value)
    assert again.topic == topics.QUESTIONS_PENDING
    assert message.best.llm_response == answer.llm_response
    assert len(message.attempts[0].llm_response) == 500


def attempts_of(*texts):
    return tuple(
        Attempt(
            attempt=number, model="m", llm_response=text, bert_score=0.1, llm_latency_ms=1, prompt_tokens=1,
            completion_tokens=1, generated_at=samples.NOW,
        )
        for number, text in enumerate(texts, 1)
    )  # fmt: skip


def test_an_accepted_answer_drops_a_history_that_does_not_fit():
    answer = samples.response(
        llm_response="a" * 600_000
    )  # as the best answer the same text would be in the message twice
    found = decide(record(answer), score(0.9), GATE, samples.NOW)
    [sent] = found.sent
    message = messages.read(sent.topic, sent.key, sent.value)
    assert (found.verdict, sent.topic) == ("accepted", topics.VALIDATED)
    assert (message.llm_response, message.bert_score, message.best, message.attempts) == (
        answer.llm_response,
        0.9,
        None,
        (),
    )


def test_the_best_answer_of_an_earlier_attempt_drops_a_history_that_does_not_fit():
    best = BestAnswer(
        llm_response="b" * 520_000, bert_score=0.3, bert_precision=0.3, bert_recall=0.3, attempt=2, model="m"
    )
    answer = samples.response(processing_attempts=3, best=best, attempts=attempts_of("x" * 300_000, best.llm_response))
    found = decide(record(answer), score(0.1), GATE, samples.NOW)
    kept = messages.read(found.sent[0].topic, found.sent[0].key, found.sent[0].value)
    assert (found.verdict, kept.llm_response, kept.bert_score) == ("max_retries_reached", best.llm_response, 0.3)


def test_a_low_quality_record_drops_a_best_answer_that_does_not_fit():
    best = BestAnswer(
        llm_response="b" * 300_000, bert_score=0.3, bert_precision=0.3, bert_recall=0.3, attempt=1, model="m"
    )
    answer = samples.response(
        processing_attempts=3, best=best, original_answer="r" * 100_000, llm_response="a" * 646_800
    )
    found = decide(record(answer), score(0.1), GATE, samples.NOW)
    assert [each.topic for each in found.sent] == [topics.VALIDATED, topics.LOW_QUALITY]
    kept, low = (messages.read(each.topic, each.key, each.value) for each in found.sent)
    assert kept.llm_response == best.llm_response
    assert (low.llm_response, low.best) == (answer.llm_response, None)


def test_an_answer_too_large_for_a_message_fails_permanently():
    answer = samples.response(original_answer="r" * 500_000, llm_response="a" * 600_000)
    found = decide(record(answer), score(0.1), GATE, samples.NOW)
    assert [each.topic for each in found.sent] == [topics.PERMANENT]
    assert json.loads(found.sent[0].value)["reason"] == "not_retryable"


def test_an_answer_rejected_by_the_scorer_is_replaced_by_the_best_so_far():
    best = BestAnswer(
        llm_response="It is.", bert_score=0.2, bert_precision=0.2, bert_recall=0.2, attempt=1, model="m", scorer="s"
    )
    answer = samples.response(processing_attempts=2, best=best)
    [sent] = decide(record(answer), Rejected(422, "reference: is empty"), GATE, samples.NOW).sent
    message = messages.read(topics.VALIDATED, sent.key, sent.value)
    assert (message.quality, message.llm_response, message.scorer) == ("max_retries_reached", "It is.", "s")
    assert "reference: is empty" in message.errors[-1].message


@pytest.mark.parametrize(
    ("attempt", "verdict", "topic"), [(1, "regenerate", topics.QUESTIONS_PENDING), (3, "unscored", topics.VALIDATED)]
)
def test_an_unreadable_answer_is_asked_again_or_kept_unscored(attempt, verdict, topic):
    unread = NoScore("unknown_tokens", only_answer=True)
    found = decide(record(samples.response(processing_attempts=attempt)), unread, GATE, samples.NOW)
    assert (found.verdict, [each.topic for each in found.sent]) == (verdict, [topic])
    assert (found.log_fields["unscorable"], found.log_fields["score"]) == ("unknown_tokens", None)


def test_log_fields_contain_ids_and_no_texts():
    found = decide(record(), score(0.1), GATE, samples.NOW)
    assert found.log_fields["question_id"] == samples.question().question_id
    assert "scattering" not in json.dumps(found.log_fields)


def test_a_message_contains_all_references_and_the_one_that_counted():
    answer = samples.response(references=("Second.", "Third."))
    bert = BertScore(0.9, 0.9, 0.9, 0.9, "encoder/layer6", 2)
    [sent] = decide(record(answer), bert, GATE, samples.NOW).sent
    message = messages.read(sent.topic, sent.key, sent.value)
    assert (message.references, message.reference_index) == (("Second.", "Third."), 2)


def test_references_too_large_for_a_message_fail_permanently():
    answer = samples.response(references=("r" * 60_000,) * 8, llm_response="a" * 600_000)
    found = decide(record(answer), score(0.1), GATE, samples.NOW)
    assert [each.topic for each in found.sent] == [topics.PERMANENT]
    assert json.loads(found.sent[0].value)["reason"] == "not_retryable"
