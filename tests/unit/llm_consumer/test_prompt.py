import pytest

from llm_consumer.prompt import prompt
from pipeline.messages import Best
from tests.unit import samples

BEST = Best(llm_response="It just is.", bert_score=0.2, bert_precision=0.2, bert_recall=0.2, attempt=1, model="m")


def text(made):
    return "\n".join(str(each["content"]) for each in made.messages)


def test_question_and_context_are_asked():
    made = prompt(samples.question(question_context="Seen from Earth."), 0.7)
    assert "Why is the sky blue?" in text(made)
    assert "Seen from Earth." in text(made)
    assert made.temperature == 0.7


@pytest.mark.parametrize("best", [None, BEST])
def test_the_reference_never_reaches_the_prompt(best):
    question = samples.question(original_answer="A REFERENCE", best=best, processing_attempts=2 if best else 1)
    assert "REFERENCE" not in text(prompt(question, 0.7))


def test_a_regeneration_is_hotter_and_shows_the_best_answer():
    first = prompt(samples.question(), 0.7)
    again = prompt(samples.question(best=BEST, processing_attempts=2), 0.7)
    third = prompt(samples.question(best=BEST, processing_attempts=3), 0.7)
    assert "It just is." in text(again)
    assert "better" in text(again)
    assert first.temperature < again.temperature < third.temperature


def test_temperature_has_a_limit_but_never_falls():
    assert prompt(samples.question(best=BEST, processing_attempts=10), 0.7).temperature == 1.2
    assert prompt(samples.question(best=BEST, processing_attempts=2), 1.5).temperature == 1.5
