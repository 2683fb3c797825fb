"""Judges generations by their score, and builds the final row of a question. Pure functions."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any


def judged(
    question: Mapping[str, Any], result: Mapping[str, Any] | None, threshold: float, max_attempts: float
) -> dict[str, Any]:
    """Returns the question with its newest generation judged; it has a `quality` if it is final.

    Args:
        question: The question; its newest generation, without a score, is the last of its `attempts`.
        result: The scorer's reply; None: there is no reference to score against.
        threshold: Score at which an answer is accepted.
        max_attempts: Generations after which the best one is kept.
    """
    newest = question["attempts"][-1]
    if result is None:
        return {**question, "best": newest, "quality": "unscored"}
    newest = newest | {"bert_score": result["score"]}
    best = question["best"]
    if best is None or newest["bert_score"] > best["bert_score"]:
        best = newest | {f"bert_{name}": result[name] for name in ("precision", "recall", "f1")}
        best["scorer"] = result["scorer"]
    scored = {**question, "best": best, "attempts": [*question["attempts"][:-1], newest]}
    if newest["bert_score"] >= threshold:
        return scored | {"quality": "accepted"}
    if newest["attempt"] >= max_attempts:
        return scored | {"quality": "max_retries_reached"}
    return scored


def final(question: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Returns the final row of a judged question."""
    best, elapsed = question["best"], now - datetime.fromisoformat(question["asked_at"])
    return {
        "question_id": question["question_id"],
        "question_text": question["question_text"],
        "original_answer": question["original_answer"],
        "llm_response": best["llm_response"],
        **{name: best.get(name) for name in ("bert_score", "bert_precision", "bert_recall", "bert_f1", "scorer")},
        "quality": question["quality"],
        "model": best["model"],
        "processing_attempts": len(question["attempts"]),
        "total_processing_time_ms": round(elapsed.total_seconds() * 1000),
        "created_at": now,
        "attempts": question["attempts"],
    }
