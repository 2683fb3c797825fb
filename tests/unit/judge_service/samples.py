"""Cases, and replies as providers send them."""

import math

from judge_service.case import Case

CASE = Case(
    question="Why is the sky blue?",
    context=None,
    references=("Air scatters blue light more than red light.",),
    answer="Because air scatters blue light most.",
)
BODY = {
    "question_id": "0123456789abcdef" * 2,
    "question_text": CASE.question,
    "question_context": None,
    "references": list(CASE.references),
    "answer": CASE.answer,
}


def token(text, chance, **others):
    """Returns an output token with its most likely alternatives, as in OpenAI's format."""
    options = {text: chance, **others}
    return {
        "token": text,
        "logprob": math.log(chance),
        "bytes": list(text.encode()),
        "top_logprobs": [
            {"token": each, "logprob": math.log(found), "bytes": list(each.encode())}
            for each, found in sorted(options.items(), key=lambda item: -item[1])
        ],
    }


def completion(text, tokens=None, finish_reason="stop", usage=(210, 1), **message):
    """Returns a chat completion."""
    prompt_tokens, completion_tokens = usage
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "judge-1-2026-08-01",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None, **message},
                "logprobs": None if tokens is None else {"content": tokens, "refusal": None},
                "finish_reason": finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


def decisions(correct=0.9, wrong=0.05, incomplete=0.03, off_topic=0.02):
    """Returns a reply of `POST /decisions`."""
    chances = {"correct": correct, "wrong": wrong, "incomplete": incomplete, "off_topic": off_topic}
    return {
        "model": "decider-1",
        "answers": [{"type": "predicate", "name": name, "probability": chance} for name, chance in chances.items()],
        "usage": {"input_tokens": 180, "output_tokens": 0, "total_tokens": 180},
    }


def systemone(correct=0.9, wrong=0.05, incomplete=0.03, off_topic=0.02):
    """Returns a reply of `POST /systemone`."""
    chances = {"correct": correct, "wrong": wrong, "incomplete": incomplete, "off_topic": off_topic}
    return {
        "answers": {name: {"type": "noul", "noul": chance} for name, chance in chances.items()},
        "usage": {"input_tokens": 170, "output_tokens": 4},
    }
