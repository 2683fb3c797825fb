from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import topics
from pipeline.messages import Judgement, LowQuality, ProviderError, Question, Response, Validated
from pipeline.routing import BertScore, Gate, NoScore, decide, give_up
from tests.unit import samples

GATE = Gate(threshold=0.7, max_attempts=3, self_check_threshold=0.3)


def score(value):
    return BertScore(value, precision=value - 0.01, recall=value + 0.01, f1=value / 2, scorer="encoder/layer6")


def run_loop(scores, gate=GATE):
    """Simulates the loop: asks again with the next score until an answer is kept."""
    question, records = samples.question(), []
    for number, f1 in enumerate(scores, 1):
        answer = question.convert_to(
            Response,
            llm_response=f"answer {number}",
            model="scripted",
            llm_latency_ms=1,
            generated_at=samples.NOW,
        )
        for routed in decide(answer, score(f1), gate, samples.NOW + timedelta(seconds=2)):
            if isinstance(routed.message, Validated):
                assert routed.topic == topics.VALIDATED
                return routed.message, records
            if isinstance(routed.message, LowQuality):
                assert routed.topic == topics.LOW_QUALITY
                records.append(routed.message)
            else:
                assert routed.topic == topics.QUESTIONS_PENDING
                question = routed.message
        records = records[:number]
    return question, records


def test_a_good_answer_is_accepted():
    kept, records = run_loop([0.7])
    assert (kept.quality, kept.bert_score, kept.llm_response) == ("accepted", 0.7, "answer 1")
    assert (kept.bert_precision, kept.bert_recall, kept.scorer) == (0.69, pytest.approx(0.71), "encoder/layer6")
    assert kept.bert_f1 == 0.35
    assert kept.total_processing_time_ms == 2000
    assert records == []


def judged(probability, problem=None):
    return Judgement(probability=probability, problem=problem, model="judge", prompt_tokens=200, completion_tokens=1)


def test_an_answer_is_accepted_when_the_judge_agrees():
    [routed] = decide(samples.response(), score(0.7), GATE, samples.NOW, judged(0.5))
    kept = routed.message
    assert (kept.quality, kept.rejected_by) == ("accepted", None)
    assert kept.judgement == kept.attempts[0].judgement == judged(0.5)


@pytest.mark.parametrize("probability", [0.49, None])
def test_an_answer_is_regenerated_when_the_judge_rejects_it(probability):
    again, record = (
        each.message for each in decide(samples.response(), score(0.9), GATE, samples.NOW, judged(probability, "wrong"))
    )
    assert (type(again), type(record)) == (Question, LowQuality)
    assert (again.best.rejected_by, again.best.judgement.problem) == ("judge", "wrong")
    assert (record.rejected_by, record.judgement.probability, record.bert_score) == ("judge", probability, 0.9)


def test_an_answer_below_the_threshold_is_rejected_by_its_score_whatever_the_judge_says():
    _, record = decide(samples.response(), score(0.69), GATE, samples.NOW, judged(1.0))
    assert record.message.rejected_by == "score"


@pytest.mark.parametrize(
    ("earlier", "later", "kept"),
    [
        ((0.75, 0.2), (0.9, 0.1), 1),
        ((0.9, 0.1), (0.75, 0.2), 2),
        ((0.69, None), (0.7, 0.0), 2),
        ((0.7, 0.0), (0.69, None), 1),
        ((0.8, 0.3), (0.8, 0.3), 1),
    ],
    ids=["probability first", "probability first, later", "judged", "judged, earlier", "equal"],
)
def test_the_best_answer_is_the_most_probable_one_of_those_above_the_threshold(earlier, later, kept):
    question = samples.question()
    for number, (bert, probability) in enumerate((earlier, later), 1):
        answer = question.convert_to(
            Response,
            llm_response=f"answer {number}",
            model="scripted",
            llm_latency_ms=1,
            generated_at=samples.NOW,
            processing_attempts=number + 1,
        )
        judgement = None if probability is None else judged(probability)
        question = decide(answer, score(bert), GATE, samples.NOW, judgement)[0].message
    assert question.quality == "max_retries_reached"
    assert question.llm_response == f"answer {kept}"
    assert question.rejected_by == ("score" if (earlier, later)[kept - 1][1] is None else "judge")


def test_a_bad_answer_is_regenerated_with_best_answer_and_history():
    again, records = run_loop([0.4])
    assert type(again) is Question
    assert (again.processing_attempts, again.retry_count) == (2, 0)
    assert (again.best.llm_response, again.best.bert_score, again.best.attempt) == ("answer 1", 0.4, 1)
    assert [entry.bert_score for entry in again.attempts] == [0.4]
    assert [(record.decision, record.threshold) for record in records] == [("regenerate", 0.7)]


def test_the_retry_count_is_reset_for_a_regeneration():
    answer = samples.response(retry_count=3)
    again = decide(answer, score(0.1), GATE, samples.NOW)[0].message
    assert again.retry_count == 0


def test_the_best_of_all_attempts_is_kept():
    kept, _ = run_loop([0.5, 0.69, 0.6])
    assert (kept.quality, kept.llm_response, kept.bert_score) == ("max_retries_reached", "answer 2", 0.69)
    assert kept.processing_attempts == 3
    assert [entry.bert_score for entry in kept.attempts] == [0.5, 0.69, 0.6]


def test_scores_06_08_07_keep_08_when_none_passes():
    kept, _ = run_loop([0.6, 0.8, 0.7], Gate(threshold=0.9, max_attempts=3, self_check_threshold=0.3))
    assert kept.bert_score == 0.8


def test_the_first_answer_is_kept_among_equal_scores():
    kept, _ = run_loop([0.5, 0.5, 0.5])
    assert kept.llm_response == "answer 1"


def test_the_last_attempt_is_scored_too():
    kept, _ = run_loop([0.1, 0.2, 0.9])
    assert (kept.quality, kept.llm_response) == ("accepted", "answer 3")


def test_without_reference_the_first_answer_is_kept_unscored():
    [routed] = decide(samples.response(original_answer=None), None, GATE, samples.NOW)
    kept = routed.message
    assert (kept.quality, kept.bert_score, kept.scorer) == ("unscored", None, None)
    assert kept.llm_response == "Because of scattering."
    assert kept.attempts[0].bert_score is None
    assert (kept.unscored_reason, kept.warnings) == ("no_reference", ())


UNREAD = NoScore("other_language", only_answer=True, warnings=("repetition",))


def test_an_unreadable_answer_is_asked_again_while_attempts_are_left():
    [routed] = decide(samples.response(), UNREAD, GATE, samples.NOW)
    again = routed.message
    assert (type(again), routed.topic) == (Question, topics.QUESTIONS_PENDING)
    assert (again.processing_attempts, again.best) == (2, None)
    assert [entry.bert_score for entry in again.attempts] == [None]


def test_the_last_unreadable_answer_is_kept_unscored_with_its_reason():
    [routed] = decide(samples.response(processing_attempts=3), UNREAD, GATE, samples.NOW)
    kept = routed.message
    assert (kept.quality, kept.bert_score, kept.llm_response) == ("unscored", None, "Because of scattering.")
    assert (kept.unscored_reason, kept.warnings) == ("other_language", ("repetition",))


def test_an_unreadable_reference_ends_at_once():
    unread = NoScore("unknown_tokens", only_answer=False)
    [routed] = decide(samples.response(), unread, GATE, samples.NOW)
    assert (routed.topic, routed.message.quality) == (topics.VALIDATED, "unscored")
    assert routed.message.unscored_reason == "unknown_tokens"


def test_an_earlier_scored_answer_is_kept_when_the_last_one_is_unreadable():
    again = decide(samples.response(llm_response="scored"), score(0.4), GATE, samples.NOW)[0].message
    last = again.convert_to(
        Response,
        llm_response="unreadable",
        model="m",
        llm_latency_ms=1,
        generated_at=samples.NOW,
        processing_attempts=3,
    )
    [routed] = decide(last, UNREAD, GATE, samples.NOW)
    kept = routed.message
    assert (kept.quality, kept.llm_response, kept.bert_score) == ("max_retries_reached", "scored", 0.4)
    assert (kept.unscored_reason, kept.warnings) == (None, ())
    assert [entry.bert_score for entry in kept.attempts] == [0.4, None]


def test_the_reference_of_an_earlier_answer_is_kept_when_the_last_one_is_unreadable():
    several = samples.response(references=("Another reference.",))
    again = decide(several, replace(score(0.4), reference_index=1), GATE, samples.NOW)[0].message
    last = again.convert_to(
        Response,
        llm_response="unreadable",
        model="m",
        llm_latency_ms=1,
        generated_at=samples.NOW,
        processing_attempts=3,
    )
    [routed] = decide(last, UNREAD, GATE, samples.NOW)
    assert (routed.message.references, routed.message.reference_index) == (("Another reference.",), 1)


def test_an_unreadable_answer_with_several_references_has_no_reference_index():
    response = samples.response(references=("Another reference.",), processing_attempts=3)
    [routed] = decide(response, UNREAD, GATE, samples.NOW)
    kept = routed.message
    assert (kept.quality, kept.unscored_reason, kept.reference_index) == ("unscored", "other_language", None)


def test_warnings_of_the_kept_answer_are_kept():
    warned = BertScore(0.5, 0.5, 0.5, 0.5, "e", warnings=("truncated",))
    again, low = (routed.message for routed in decide(samples.response(), warned, GATE, samples.NOW))
    assert (again.best.warnings, low.warnings) == (("truncated",), ("truncated",))
    last = again.convert_to(
        Response, llm_response="worse", model="m", llm_latency_ms=1, generated_at=samples.NOW, processing_attempts=3
    )
    assert decide(last, score(0.1), GATE, samples.NOW)[0].message.warnings == ("truncated",)


@pytest.mark.parametrize(
    ("attempt", "agreement", "quality"),
    [(1, 0.3, "self_check_accepted"), (1, 0.29, None), (3, 0.29, "self_check_max_retries_reached")],
)
def test_without_reference_the_self_check_threshold_applies_to_agreement(attempt, agreement, quality):
    answer = samples.response(original_answer=None, processing_attempts=attempt, samples=("One.", "Two."))
    first, *records = (routed.message for routed in decide(answer, score(agreement), GATE, samples.NOW))
    if quality:
        assert (first.quality, first.bert_score, first.scorer) == (quality, agreement, "encoder/layer6")
    else:
        assert (type(first), first.best.bert_score) == (Question, agreement)
    assert [(record.threshold, record.samples) for record in records] == [(0.3, ())] * (agreement < 0.3)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3), st.floats(-1, 1), st.integers(1, 3))
def test_the_loop_ends_with_the_first_pass_or_the_best(scores, threshold, max_attempts):
    gate = Gate(threshold, max_attempts, self_check_threshold=0.3)
    played = scores[:max_attempts]
    question = samples.question()
    for number, f1 in enumerate(played, 1):
        answer = question.convert_to(
            Response, llm_response=f"answer {number}", model="m", llm_latency_ms=0, generated_at=samples.NOW
        )
        exact = BertScore(f1, f1, f1, f1, "e")
        question = decide(answer, exact, gate, samples.NOW)[0].message
        if isinstance(question, Validated):
            break
    passed = [f1 for f1 in played if f1 >= threshold]
    assert isinstance(question, Validated)
    assert question.quality == ("accepted" if passed else "max_retries_reached")
    assert question.bert_score == (passed[0] if passed else max(played))
    assert question.llm_response == f"answer {played.index(question.bert_score) + 1}"


@pytest.mark.parametrize(
    ("scores", "indices", "kept_index"),
    [
        ([0.9], [1], 1),  # accepted
        ([0.5, 0.69, 0.6], [0, 2, 1], 2),  # the best attempt is kept
        ([0.5, 0.5, 0.5], [2, 0, 1], 2),  # of equal ones the first
        ([0.5, 0.9], [1, 0], 0),
    ],
)
def test_the_reference_of_the_kept_attempt_is_kept_over_regenerations(scores, indices, kept_index):
    question = samples.question(references=("Second.", "Third."))
    for number, (value, index) in enumerate(zip(scores, indices, strict=True), 1):
        answer = question.convert_to(
            Response, llm_response=f"answer {number}", model="m", llm_latency_ms=1, generated_at=samples.NOW
        )
        first, *records = (
            routed.message for routed in decide(answer, replace(score(value), reference_index=index), GATE, samples.NOW)
        )
        assert [record.reference_index for record in records] == [index] * (value < GATE.threshold)
        assert first.references == question.references
        question = first
    assert isinstance(question, Validated)
    assert question.reference_index == kept_index


def test_the_reference_of_the_best_answer_is_kept_when_the_question_is_given_up():
    again = decide(samples.response(), replace(score(0.4), reference_index=1), GATE, samples.NOW)[0].message
    error = ProviderError(type="permanent", message="no")
    assert give_up(again, error, "not_retryable", samples.SOURCE, samples.NOW).message.reference_index == 1


def test_an_unscored_answer_has_no_reference_index():
    [routed] = decide(samples.response(original_answer=None), None, GATE, samples.NOW)
    assert routed.message.reference_index is None
