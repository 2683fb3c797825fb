"""Concurrent writes of storage-writer in the real database."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

import storage_service.store
from pipeline import postgres
from pipeline.cache import Answer, Judge
from pipeline.messages import Attempt, BestAnswer, InvalidMessage, Judgement
from pipeline.routing import BertScore
from pipeline.settings import PostgresSettings
from storage_service.correction import Candidate, choose
from storage_writer.store import Store
from tests.fleet import eventually
from tests.unit import samples

SECONDS = 60
MOST_INT = 2**31 - 1


@pytest.fixture
def pool():
    pool = postgres.engine(PostgresSettings(), "tests")
    yield pool
    pool.dispose()


@pytest.fixture
def store(fleet, pool):
    return Store(pool)


@pytest.fixture
def pending(fleet, unique):
    """Returns a function that makes pending questions that no service processes; their rows are deleted afterwards."""
    made = []

    def make(count, known=True):
        now = datetime.now(UTC).replace(microsecond=0)
        texts = [unique(f"question {number}") for number in range(count)]
        questions = [
            samples.question(question_text=text, asked_at=now, attempts=(attempt(1), attempt(2))) for text in texts
        ]
        made.extend(each.question_id for each in questions)
        if known:
            for each in questions:
                fleet.sql(
                    "INSERT INTO questions (question_id, question_text, asked_at) VALUES (%s, %s, %s) RETURNING 1",
                    each.question_id,
                    each.question_text,
                    each.asked_at,
                )
        return questions

    yield make
    for table in ("responses", "attempts", "call_errors", "failed_questions", "questions"):
        fleet.sql(f"DELETE FROM {table} WHERE question_id = ANY(%s) RETURNING 1", made)


def attempt(number):
    return Attempt(
        attempt=number,
        model="scripted",
        llm_response=f"Answer ñ {number}.",
        bert_score=0.25 * number,
        llm_latency_ms=12,
        prompt_tokens=3,
        completion_tokens=4,
        generated_at=samples.NOW,
    )


def answer(question):
    return Answer(
        question_id=question.question_id,
        question_text=question.question_text,
        original_answer=question.original_answer,
        llm_response=f"It is “{question.question_id}”.",
        bert_score=0.5,
        bert_precision=0.9,
        bert_recall=0.8,
        bert_f1=0.85,
        quality="accepted",
        scorer="bertscore",
        model="scripted",
        processing_attempts=2,
        total_processing_time_ms=1234,
        created_at=samples.NOW,
    )


def at_once(calls):
    """Makes all calls concurrently; returns the result or the exception of each."""

    def outcome(call):
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(outcome, calls, timeout=SECONDS))


def completing(store, questions):
    return [lambda each=each: store.complete(each, answer(each)) for each in questions]


def kept(fleet, questions):
    """Returns the answers and how many attempts each has, by question id."""
    rows = fleet.sql(
        "SELECT question_id, r.llm_response, count(attempt) AS n"
        " FROM responses AS r JOIN questions USING (question_id) LEFT JOIN attempts USING (question_id)"
        " WHERE status = 'completed' AND question_id = ANY(%s) GROUP BY 1, 2",
        [each.question_id for each in questions],
    )
    return {row["question_id"]: (row["llm_response"], row["n"]) for row in rows}


def test_concurrent_answers_are_stored_with_their_questions(fleet, store, pending):
    questions = pending(24)
    assert at_once(completing(store, questions)) == [True] * 24
    assert kept(fleet, questions) == {each.question_id: (answer(each).llm_response, 2) for each in questions}
    assert at_once(completing(store, questions)) == [False] * 24


def test_duplicate_messages_store_one_answer(fleet, store, pending):
    questions = pending(4)
    results = at_once(completing(store, questions * 4))
    assert [sum(results[place::4]) for place in range(4)] == [1, 1, 1, 1]
    assert len(kept(fleet, questions)) == 4


def test_answers_of_questions_without_a_row_insert_it(fleet, store, pending):
    questions = pending(3) + pending(3, known=False)
    assert at_once(completing(store, questions * 2)).count(True) == 6
    assert len(kept(fleet, questions)) == 6
    (row,) = fleet.sql(
        "SELECT question_text, original_answer, asked_at FROM questions WHERE question_id = %s",
        questions[-1].question_id,
    )
    assert row == {name: getattr(questions[-1], name) for name in row}


@pytest.mark.parametrize("wrong", [{"llm_response": "a \x00"}, {"prompt_tokens": MOST_INT + 1}], ids=["NUL", "number"])
def test_an_unreadable_answer_does_not_affect_the_others(fleet, store, pending, wrong):
    bad, *good = pending(12)
    bad = bad.model_copy(update={"attempts": (attempt(1).model_copy(update=wrong),)})
    refused, *results = at_once(completing(store, [bad, *good]))
    assert isinstance(refused, InvalidMessage)
    assert results == [True] * 11
    assert kept(fleet, [bad, *good]).keys() == {each.question_id for each in good}


def test_concurrent_attempts_of_one_question_are_all_recorded(fleet, store, pending):
    (question,) = pending(1)
    histories = [tuple(attempt(number) for number in range(1, last + 1)) for last in (1, 2, 3)] * 4
    results = at_once([lambda h=h: store.note(question.model_copy(update={"attempts": h})) for h in histories])
    assert results == [True] * 12
    rows = fleet.sql("SELECT attempt FROM attempts WHERE question_id = %s ORDER BY 1", question.question_id)
    assert [row["attempt"] for row in rows] == [1, 2, 3]


def test_an_older_failure_of_a_question_asked_again_is_ignored(fleet, store, pending):
    old, *failed = pending(8)
    old = old.model_copy(update={"asked_at": old.asked_at - timedelta(seconds=1)})
    fails = [
        lambda each=each: store.fail(each, "retries_exhausted", "busy \x00", samples.NOW) for each in [old, *failed]
    ]
    assert at_once(fails) == [False] + [True] * 7
    rows = fleet.sql(
        "SELECT last_error FROM failed_questions WHERE question_id = ANY(%s)", [each.question_id for each in failed]
    )
    assert [row["last_error"] for row in rows] == ["busy \ufffd"] * 7


def test_concurrent_writes_to_the_same_rows_do_not_deadlock(fleet, pool, store, pending):
    marks = storage_service.store.Store(pool)
    questions = pending(200)
    shuffler = random.Random(5)
    for start in range(0, 200, 40):
        some = questions[start : start + 40]

        def mixed(some=some):
            return shuffler.sample(some, len(some))

        noting = [lambda each=each: store.note(each) for each in mixed()]
        marking = [
            lambda order=mixed(): marks.mark_published({(e.question_id, e.asked_at): samples.NOW for e in order})
            for _ in range(4)
        ]
        counting = [lambda order=mixed(): marks.add_times_asked({e.question_id: 1 for e in order}) for _ in range(4)]
        results = at_once([*noting, *marking, *counting, *completing(store, mixed())])
        assert [each for each in results if isinstance(each, Exception)] == []
    rows = fleet.sql(
        "SELECT DISTINCT times_asked, published_at FROM questions WHERE question_id = ANY(%s)",
        [each.question_id for each in questions],
    )
    assert rows == [{"times_asked": 5, "published_at": samples.NOW}]


JUDGEMENT = Judgement(
    probability=0.123456,
    problem="wrong",
    model="judge",
    prompt_tokens=90,
    completion_tokens=1,
    cost=Decimal("0.000012000"),
)


def judged(question):
    """Returns the question with a judgement of its second attempt, and the answer that only the judge rejects."""
    attempts = (attempt(1), attempt(2).model_copy(update={"cost": Decimal("0.001"), "judgement": JUDGEMENT}))
    judge = Judge(probability=0.123456, problem="wrong", model="judge")
    rejected = {"judge": judge, "rejected_by": "judge", "quality": "max_retries_reached"}
    return question.model_copy(update={"attempts": attempts}), answer(question).model_copy(update=rejected)


def test_a_judged_answer_is_read_as_it_was_written_and_what_the_judge_took_is_included(store, pool, pending):
    question, kept_answer = judged(*pending(1))
    assert store.complete(question, kept_answer)
    state = storage_service.store.Store(pool).find(question.question_id)
    assert state.result == kept_answer
    usage = state.usage
    assert (usage.attempts, usage.prompt_tokens, usage.completion_tokens, usage.cost) == (2, 96, 9, Decimal("0.001012"))


def test_a_corrected_answer_has_no_judgement_and_what_the_judge_took_stays(fleet, store, pool, pending):
    question, kept_answer = judged(*pending(1))
    assert store.complete(question, kept_answer)
    candidates = [Candidate(each.attempt, each.llm_response, each.model) for each in question.attempts]
    for threshold, rejected_by in ((0.9, "score"), (0.5, None)):
        chosen = choose(["Because."], candidates, [BertScore(0.5, 0.5, 0.5, 0.5, "e")] * 2, threshold)
        state = storage_service.store.Store(pool).correct(question.question_id, question.asked_at, chosen)
        assert (state.result.judge, state.result.rejected_by) == (None, rejected_by)
    assert (state.usage.prompt_tokens, state.usage.cost) == (96, Decimal("0.001012"))
    rows = fleet.sql("SELECT judge_model FROM attempts WHERE question_id = %s", question.question_id)
    assert [row["judge_model"] for row in rows] == [None, None]


def best(score, probability=None):
    return BestAnswer(
        llm_response=f"{score} {probability}",
        bert_score=score,
        bert_precision=score,
        bert_recall=score,
        attempt=1,
        model="scripted",
        judgement=None if probability is None else JUDGEMENT.model_copy(update={"probability": probability}),
        rejected_by="score" if probability is None else "judge",
    )


def test_the_best_answer_so_far_is_the_one_that_only_the_judge_rejects(fleet, store, pending):
    (question,) = pending(1)
    found = []
    for each in (best(0.2), best(0.1), best(0.3), best(0.6, 0.2), best(0.9), best(0.7, 0.1), best(0.5, 0.4)):
        assert store.note(question.model_copy(update={"best": each}))
        (row,) = fleet.sql(
            "SELECT best ->> 'llm_response' AS t FROM questions WHERE question_id = %s", question.question_id
        )
        found.append(row["t"])
    assert found == ["0.2 None", "0.2 None", "0.3 None", "0.6 0.2", "0.6 0.2", "0.6 0.2", "0.5 0.4"]


def test_a_question_continues_with_the_judgements_of_its_attempts(store, pending):
    question, _ = judged(*pending(1))
    assert store.note(question.model_copy(update={"best": best(0.6, 0.25)}))

    def resumed():
        with store.outbox(0, 1000) as outbox:
            return next((each for each in outbox.questions if each.question_id == question.question_id), None)

    continued = eventually(resumed, "the question is in the outbox", 30)
    assert [each.judgement for each in continued.attempts] == [None, JUDGEMENT]
    assert (continued.processing_attempts, continued.best) == (3, best(0.6, 0.25))
