"""What the model is told. Pure.

The reference answer never reaches a prompt: these functions take the question's text, context and best earlier answer,
and nothing else.
"""

from dataclasses import dataclass, replace

from pipeline.messages import Question

SYSTEM = "You answer questions. Answer in one to three short, complete sentences. Give facts, no introduction."
TEMPERATURE_STEP = 0.15
MAX_TEMPERATURE = 1.0
"""Some providers take no higher one."""

MAX_EARLIER_CHARACTERS = 4_000
"""Of the earlier answer in a regeneration."""
SHORT_EARLIER_CHARACTERS = 400
"""The same where the whole does not fit the model's context."""


@dataclass(frozen=True)
class Prompt:
    """One request to the model.

    Attributes:
        messages: The conversation, in the form of the OpenAI chat API.
        temperature: Of the sampling, from 0 to 2.
    """

    messages: list[dict[str, str]]
    temperature: float


def with_min_temperature(asked: Prompt, temperature: float) -> Prompt:
    """Returns the same request sampled at a temperature, or at its own if that is higher."""
    return replace(asked, temperature=max(asked.temperature, temperature))


def prompts(question: Question, temperature: float) -> list[Prompt]:
    """Makes the prompt of a question's current attempt, and shorter ones for a model whose context it does not fit.

    A regeneration differs from the first attempt: it is sampled at a higher temperature, and it shows the best answer
    so far with the request to do better. In its shorter form that answer is cut and the question not repeated; in its
    shortest it is the prompt of the first attempt.

    Args:
        question: The question with its attempt and its best answer so far.
        temperature: Of the first attempt.
    """
    asked = question.question_text
    if question.question_context:
        asked = f"{asked}\n\n{question.question_context}"
    first = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]
    forms = [first]
    if question.best:
        earlier = question.best.llm_response
        again = "That answer was not good enough. Answer the question again, better: more precise and more complete."
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
