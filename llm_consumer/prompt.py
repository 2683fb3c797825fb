"""Prompts for the model. Pure.

The reference answer never reaches a prompt: the functions only use the question's text, its context and the best
earlier answer.
"""

from collections.abc import Mapping
from dataclasses import replace

from pipeline.messages import JudgeProblem, Question
from pipeline.providers.llm import Prompt

SYSTEM = "You answer questions. Answer in one to three short, complete sentences. Give facts, no introduction."
TEMPERATURE_STEP = 0.15
MAX_TEMPERATURE = 1.0
"""Some providers allow no higher temperature."""

PROBLEMS: Mapping[JudgeProblem | None, str] = {
    "wrong": "A reviewer found something in it that is not true.",
    "incomplete": "A reviewer found that the main point is missing.",
    "off_topic": "A reviewer found that it does not answer the question.",
}
"""What a regeneration is told about the earlier answer if a judge rejected it."""

MAX_EARLIER_CHARACTERS = 4_000
"""Maximum length of the earlier answer in the prompt of a regeneration."""
SHORT_EARLIER_CHARACTERS = 400
"""The same for a prompt that has to be shortened to fit the model's context."""


def with_min_temperature(asked: Prompt, temperature: float) -> Prompt:
    """Returns the same prompt with at least this temperature."""
    return replace(asked, temperature=max(asked.temperature, temperature))


def prompts(question: Question, temperature: float) -> list[Prompt]:
    """Makes the prompt of a question's current attempt, and shorter ones in case it exceeds the model's context.

    A regeneration has a higher temperature than the first attempt. Its prompt contains the best answer so far, what a
    judge found wrong in it, and the request for a better one. The shorter form cuts that answer and does not repeat the
    question. The shortest form is the prompt of the first attempt.

    Args:
        question: The question with its attempt and its best answer so far.
        temperature: Temperature of the first attempt.
    """
    asked = question.question_text
    if question.question_context:
        asked = f"{asked}\n\n{question.question_context}"
    first = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]
    forms = [first]
    if question.best:
        earlier = question.best.llm_response
        problem = PROBLEMS.get(question.best.judgement.problem, "") if question.best.judgement else ""
        verdict = f"That answer was not good enough. {problem}".strip()
        again = f"{verdict} Answer the question again, better: more precise and more complete."
        forms = [
            [*first, *_dialogue(earlier[:MAX_EARLIER_CHARACTERS], f"{again}\n\n{asked}")],
            [*first, *_dialogue(earlier[:SHORT_EARLIER_CHARACTERS], again)],
            first,
        ]
    raised = temperature + TEMPERATURE_STEP * (question.processing_attempts - 1)
    hot = round(min(raised, max(temperature, MAX_TEMPERATURE)), 4)
    return [Prompt(messages, hot) for messages in forms]


def _dialogue(answer: str, reply: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": answer}, {"role": "user", "content": reply}]
