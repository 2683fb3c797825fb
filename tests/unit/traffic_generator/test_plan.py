import pytest

from traffic_generator import plan
from traffic_generator.dataset import Question

QUESTIONS = [Question("t", f"Question {number}?", "", "") for number in range(30)]


def test_the_same_seed_asks_the_same_questions_in_the_same_order() -> None:
    assert plan.choose(QUESTIONS, 20, seed=1) == plan.choose(QUESTIONS, 20, seed=1)


def test_another_seed_asks_others() -> None:
    assert plan.choose(QUESTIONS, 20, seed=1) != plan.choose(QUESTIONS, 20, seed=2)


def test_the_order_is_not_that_of_the_file() -> None:
    assert plan.choose(QUESTIONS, 30, seed=1) != QUESTIONS


def test_a_smaller_count_is_the_beginning_of_a_larger_one() -> None:
    assert plan.choose(QUESTIONS, 70, seed=3)[:20] == plan.choose(QUESTIONS, 20, seed=3)


def test_no_question_comes_again_before_all_were_asked() -> None:
    chosen = plan.choose(QUESTIONS, 75, seed=1)
    first, second, third = set(chosen[:30]), set(chosen[30:60]), chosen[60:]
    assert first == second == set(QUESTIONS)
    assert len(set(third)) == 15


def test_the_second_round_has_an_order_of_its_own() -> None:
    chosen = plan.choose(QUESTIONS, 60, seed=1)
    assert chosen[:30] != chosen[30:]


@pytest.mark.parametrize(("questions", "count"), [([], 1), (QUESTIONS, -1)])
def test_what_cannot_be_chosen_is_refused(questions: list[Question], count: int) -> None:
    with pytest.raises(ValueError, match=r"no question|negative"):
        plan.choose(questions, count, seed=1)


def test_due_times_are_counted_from_the_start() -> None:
    assert [plan.due_at(100.0, index, 0.5) for index in (0, 1, 50)] == [100.0, 100.5, 125.0]
