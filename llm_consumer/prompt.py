"""What the model is told. Pure.

The reference answer never reaches a prompt: these functions take the question's text, context and best earlier answer,
and nothing else.
"""

from dataclasses import dataclass, replace

from pipeline.messages import Question

SYSTEM = "You answer questions. Answer in one to three short, complete sentences. Give facts, no introduction."
TEMPERATURE_STEP = 0.2
MAX_TEMPERATURE = 1.2


@dataclass(frozen=True)
class Prompt:
    """One request to the model.

    Attributes:
        messages: The conversation, in the form of the OpenAI chat API.
        temperature: Of the sampling, from 0 to 2.
    """

    messages: list[dict[str, str]]
    temperature: float


def hotter(asked: Prompt, temperature: float) -> Prompt:
    """Returns the same request sampled at a temperature, or at its own if that is higher."""
    return replace(asked, temperature=max(asked.temperature, temperature))


def prompt(question: Question, temperature: float) -> Prompt:
    """Makes the prompt of a question's current attempt.

    A regeneration differs from the first attempt: it is sampled hotter, and it shows the best answer so far with the
    request to do better.

    Args:
        question: The question with its attempt and its best answer so far.
        temperature: Of the first attempt.
    """
    asked = question.question_text
    if question.question_context:
        asked = f"{asked}\n\n{question.question_context}"
    messages: list[dict[str, str]] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": asked},
    ]
    if question.best:
        messages += [
            {"role": "assistant", "content": question.best.llm_response},
            {
                "role": "user",
                "content": "That answer was not good enough. Answer the question again, better: "
                f"more precise and more complete.\n\n{asked}",
            },
        ]
    raised = temperature + TEMPERATURE_STEP * (question.processing_attempts - 1)
    return Prompt(messages, min(raised, max(temperature, MAX_TEMPERATURE)))
