"""The study without its Redis, and what its page says."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from pipeline.cache import Answer
from pipeline.question import question_id
from traffic_generator import cache_report, cache_study, generate_traffic
from traffic_generator.cache_study import Course, Result, StudyError
from traffic_generator.dataset import Question

from .conftest import Storage, reply


def answer(number: int) -> Answer:
    return Answer(
        question_id=question_id(f"Question {number}?"),
        question_text=f"Question {number}?",
        original_answer=None,
        llm_response="Yes." * number,
        bert_score=None,
        bert_precision=None,
        bert_recall=None,
        bert_f1=None,
        quality="unscored",
        scorer=None,
        model="scripted",
        processing_attempts=1,
        total_processing_time_ms=1,
        created_at=datetime.now(UTC),
    )


def result(policy: cache_study.Policy, exponent: float, hit_rate: float, predicted: float | None) -> Result:
    return Result(exponent, 8, policy, 6000.0, hit_rate, predicted, (50.0, 60.0, 900.0), 10, 5000.0, 2.0)


class DictCache:
    def __init__(self) -> None:
        self.kept: dict[str, Answer] = {}

    def get(self, key: str) -> Answer | None:
        return self.kept.get(key)

    def put(self, answer: Answer) -> None:
        self.kept[answer.question_id] = answer


def test_a_miss_puts_the_answer_there_and_then_it_is_found() -> None:
    cache = DictCache()
    assert [cache_study.look_up(cache, answer(1))[0] for _ in range(2)] == [False, True]  # type: ignore[arg-type]


def test_another_answer_is_no_hit() -> None:
    cache = DictCache()
    cache.kept[answer(1).question_id] = answer(2)
    with pytest.raises(StudyError, match="found"):
        cache_study.look_up(cache, answer(1))  # type: ignore[arg-type]


def test_answers_are_multiplied_with_their_sizes_and_ids_of_their_own() -> None:
    many = cache_study.multiplied([answer(1), answer(2)], 5)
    assert len({each.question_id for each in many}) == 5
    assert [each.llm_response for each in many] == ["Yes.", "Yes.Yes.", "Yes.", "Yes.Yes.", "Yes."]


def test_the_order_is_that_of_the_distribution() -> None:
    drawn, weights = cache_study.order(1.0, 100, 20_000, seed=1)
    most = max(range(100), key=lambda number: weights[number])
    assert Counter(drawn)[most] / 20_000 == pytest.approx(weights[most] / sum(weights), rel=0.1)
    assert set(cache_study.order(0.0, 100, 10, seed=1)[1]) == {1.0}


def test_known_answers_are_looked_up_and_nothing_is_asked(storage: Storage) -> None:
    known = {answer(number).question_id: answer(number) for number in range(10)}

    def on_status(asked: str, _look: int):
        if asked not in known:
            return reply({}, 404)
        return reply({"question_id": asked, "result": known[asked].model_dump(mode="json")})

    storage.on_status = on_status
    questions = [Question("", f"Question {number}?", "", "") for number in range(12)]
    assert cache_study.known_answers(storage.url, questions) == list(known.values())
    assert storage.queries == []
    del known[answer(0).question_id]
    with pytest.raises(StudyError, match="answered 9 questions"):
        cache_study.known_answers(storage.url, questions)


def test_the_page_tells_what_is_off_and_what_never_filled() -> None:
    results = [
        result("allkeys-lru", 0.8, 0.60, 0.62),
        result("allkeys-lfu", 0.8, 0.68, 0.70),
        result("allkeys-lru", 0.0, 0.30, None),
        result("allkeys-random", 0.0, 0.33, 0.33),
    ]
    page = cache_report.markdown(results, Course(1000, 2000, 1000, 7), 12, 1100.0, "8.0", "a machine")
    assert "off Che's approximation by 2.0 points in the mean, by -2.0 at most (`zipf 0.8` at 8 MiB" in page
    assert "`allkeys-lfu` differs most from `allkeys-lru` with `zipf 0.8` at 8 MiB: 68.0% against 60.0%" in page
    assert "never full" in page
    assert "within 3.0 points" in page
    assert all(plot in page for plot in cache_report.PLOTS.values())


def test_each_distribution_and_policy_is_drawn() -> None:
    results = [result(policy, exponent, 0.5, 0.5) for exponent in (0.0, 1.0) for policy in cache_study.POLICIES]
    drawn = cache_report.figures(results)
    assert drawn.keys() == cache_report.PLOTS.keys()
    assert len(drawn["hits"].data) == len(drawn["latency"].data) == 12


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--study-cache", "--rate", "3"], "--rate is for asking"),
        (["--study-questions", "500"], "--study-questions is for --study-cache"),
    ],
)
def test_asking_and_studying_do_not_mix(arguments: list[str], said: str) -> None:
    refused = CliRunner().invoke(generate_traffic.main, arguments)
    assert refused.exit_code == 2
    assert said in refused.output


def test_no_redis_is_told() -> None:
    refused = CliRunner().invoke(
        generate_traffic.main, ["--study-cache", "--study-redis", "redis://127.0.0.1:1/0", "--quiet"]
    )
    assert refused.exit_code == 2
    assert "make cache-study" in refused.output
