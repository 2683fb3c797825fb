"""The study without its Redis, and what its page says."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from pipeline.cache import Answer
from pipeline.question import question_id
from studies.cache import measure, report, study
from studies.cache.measure import LookupPlan, Result, StudyError
from tests.unit.traffic_generator.conftest import Storage, reply
from traffic_generator import generate_traffic
from traffic_generator.dataset import Question


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


def result(policy: measure.Policy, exponent: float, hit_rate: float, predicted: float | None) -> Result:
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
    assert [measure.look_up(cache, answer(1))[0] for _ in range(2)] == [False, True]  # type: ignore[arg-type]


def test_another_answer_is_no_hit() -> None:
    cache = DictCache()
    cache.kept[answer(1).question_id] = answer(2)
    with pytest.raises(StudyError, match="found"):
        measure.look_up(cache, answer(1))  # type: ignore[arg-type]


def test_answers_are_multiplied_with_their_sizes_and_ids_of_their_own() -> None:
    many = measure.multiplied([answer(1), answer(2)], 5)
    assert len({each.question_id for each in many}) == 5
    assert [each.llm_response for each in many] == ["Yes.", "Yes.Yes.", "Yes.", "Yes.Yes.", "Yes."]


def test_the_order_is_that_of_the_distribution() -> None:
    drawn, weights = measure.order(1.0, 100, 20_000, seed=1)
    most = max(range(100), key=lambda number: weights[number])
    assert Counter(drawn)[most] / 20_000 == pytest.approx(weights[most] / sum(weights), rel=0.1)
    assert set(measure.order(0.0, 100, 10, seed=1)[1]) == {1.0}


def test_known_answers_are_looked_up_and_nothing_is_asked(storage: Storage) -> None:
    known = {answer(number).question_id: answer(number) for number in range(10)}

    def on_status(asked: str, _look: int):
        if asked not in known:
            return reply({}, 404)
        return reply({"question_id": asked, "result": known[asked].model_dump(mode="json")})

    storage.on_status = on_status
    questions = [Question("", f"Question {number}?", "", "") for number in range(12)]
    assert measure.known_answers(storage.url, questions) == list(known.values())
    assert storage.queries == []
    del known[answer(0).question_id]
    with pytest.raises(StudyError, match="answered 9 questions"):
        measure.known_answers(storage.url, questions)


def test_the_page_tells_what_is_off_and_what_never_filled() -> None:
    results = [
        result("allkeys-lru", 0.8, 0.60, 0.62),
        result("allkeys-lfu", 0.8, 0.68, 0.70),
        result("allkeys-lru", 0.0, 0.30, None),
        result("allkeys-random", 0.0, 0.33, 0.33),
    ]
    page = report.document(results, LookupPlan(1000, 2000, 1000, 7), 12, 1100.0, "8.0", "a machine")
    assert "off Che's approximation by 2.0 points in the mean, by -2.0 at most (`zipf 0.8` at 8 MiB" in page
    assert "`allkeys-lfu` differs most from `allkeys-lru` with `zipf 0.8` at 8 MiB: 68.0% against 60.0%" in page
    assert "never full" in page
    assert "within 3.0 points" in page
    assert "| zipf 0.8 | 8 MiB | 60.0% (62.0%) | 68.0% (70.0%) |  |" in page
    assert "| uniform | 8 MiB | 30.0% (never full) |  | 33.0% (33.0%) |" in page
    assert all(plot in page for plot in report.PLOTS.values())


def test_sizes_at_which_no_cache_was_full_are_only_in_the_csv_file() -> None:
    never_full = result("allkeys-lru", 1.0, 0.9, None)
    assert report.hit_rates([never_full]) == []
    assert (measure.row(never_full)["hit rate, %"], measure.row(never_full)["predicted, %"]) == ("90.0", "")


def test_each_distribution_and_policy_is_drawn() -> None:
    results = [result(policy, exponent, 0.5, 0.5) for exponent in (0.0, 1.0) for policy in measure.POLICIES]
    drawn = report.figures(results)
    assert drawn.keys() == report.PLOTS.keys()
    assert [sum(len(axis.lines) for axis in drawn[name].axes) for name in ("hits", "latency")] == [12, 12]


def test_the_traffic_generator_asks_and_does_not_study() -> None:
    refused = CliRunner().invoke(generate_traffic.main, ["--study-cache"])
    assert refused.exit_code == 2
    assert "No such option" in refused.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--rate", "3"], "--rate"), (["--questions", "99"], "99 is not"), (["--url", "ftp://x"], "'ftp://x' is not")],
)
def test_the_study_refuses_what_it_does_not_take(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        study.main(arguments)
    assert said in capsys.readouterr().err


def test_no_redis_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main(["--redis", "redis://127.0.0.1:1/0", "--quiet"]) == 2
    assert "make study S=cache" in capsys.readouterr().err
