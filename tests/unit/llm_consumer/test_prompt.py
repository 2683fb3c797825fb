from typing import get_args

import pytest

from llm_consumer.prompt import PROBLEMS, prompts
from pipeline.messages import BestAnswer, Judgement, JudgeProblem
from tests.unit import samples

BEST = BestAnswer(llm_response="It just is.", bert_score=0.2, bert_precision=0.2, bert_recall=0.2, attempt=1, model="m")


def text(prompt):
    return "\n".join(str(each["content"]) for each in prompt.messages)


def test_the_prompt_contains_question_and_context():
    prompt = prompts(samples.question(question_context="Seen from Earth."), 0.7)[0]
    assert "Why is the sky blue?" in text(prompt)
    assert "Seen from Earth." in text(prompt)
    assert prompt.temperature == 0.7


@pytest.mark.parametrize("best", [None, BEST])
def test_the_reference_is_never_in_the_prompt(best):
    question = samples.question(
        original_answer="A REFERENCE",
        references=("ANOTHER REFERENCE",),
        best=best,
        processing_attempts=2 if best else 1,
    )
    assert "REFERENCE" not in text(prompts(question, 0.7)[0])


def test_a_regeneration_has_a_higher_temperature_and_shows_the_best_answer():
    first = prompts(samples.question(), 0.7)[0]
    again = prompts(samples.question(best=BEST, processing_attempts=2), 0.7)[0]
    third = prompts(samples.question(best=BEST, processing_attempts=3), 0.7)[0]
    assert "It just is." in text(again)
    assert "better" in text(again)
    assert first.temperature < again.temperature < third.temperature


@pytest.mark.parametrize("problem", sorted(set(get_args(JudgeProblem)) - {"refused"}))
def test_a_regeneration_says_what_the_judge_found_wrong(problem):
    best = BEST.model_copy(update={"judgement": Judgement(probability=0.1, problem=problem, model="judge")})
    again = text(prompts(samples.question(best=best, processing_attempts=2), 0.7)[0])
    assert PROBLEMS[problem] in again


def test_a_regeneration_names_no_problem_without_a_judge():
    again = text(prompts(samples.question(best=BEST, processing_attempts=2), 0.7)[0])
    assert not any(each in again for each in PROBLEMS.values())


def test_the_temperature_is_limited_but_never_lowered():
    assert prompts(samples.question(best=BEST, processing_attempts=10), 0.7)[0].temperature == 1.0
    assert prompts(samples.question(best=BEST, processing_attempts=2), 1.5)[0].temperature == 1.5


def test_shorter_forms_of_a_regeneration_shorten_the_earlier_answer_first():
    best = BEST.model_copy(update={"llm_response": "x" * 5000})
    question = samples.question(best=best, processing_attempts=2)
    whole, short, shortest = prompts(question, 0.7)
    assert [text(each).count("x") for each in (whole, short, shortest)] == [4000, 400, 0]
    assert [text(each).count("Why is the sky blue?") for each in (whole, short, shortest)] == [2, 1, 1]
    assert whole.temperature == short.temperature == shortest.temperature == 0.85


def test_a_first_attempt_has_a_single_form():
    assert len(prompts(samples.question(), 0.7)) == 1
