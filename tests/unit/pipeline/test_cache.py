"""Tests of the answer cache without Redis; the system tests cover it with Redis."""

import json

import pytest

from pipeline.cache import Answer, Cache, Judge
from pipeline.errors import Unavailable
from pipeline.settings import CacheSettings

ID = "0" * 32


@pytest.fixture
def cache_without_redis():
    return Cache(CacheSettings(redis_url="redis://127.0.0.1:1/0"), "test")


def test_get_returns_none_without_redis(cache_without_redis):
    assert cache_without_redis.get(ID) is None


@pytest.mark.parametrize("method", ["invalidate", "forget"])
def test_invalidate_and_forget_raise_unavailable_without_redis(cache_without_redis, method):
    with pytest.raises(Unavailable, match="Redis"):
        getattr(cache_without_redis, method)(ID)


def test_an_answer_from_before_there_were_several_references_and_judges_is_read():
    fields = {
        "question_id": ID,
        "question_text": "Why?",
        "original_answer": "Because.",
        "llm_response": "So.",
        "bert_score": 0.5,
        "bert_precision": 0.5,
        "bert_recall": 0.5,
        "quality": "accepted",
        "scorer": "s",
        "model": "m",
        "processing_attempts": 1,
        "total_processing_time_ms": 1,
        "created_at": "2026-01-31T12:00:00Z",
    }
    answer = Answer.model_validate_json(json.dumps(fields))
    assert (answer.references, answer.reference_index) == ((), None)
    several = answer.model_copy(update={"references": ("So it is.",), "reference_index": 1})
    assert Answer.model_validate_json(several.model_dump_json()) == several
    assert (answer.judge, answer.rejected_by) == (None, None)
    judged = Judge(probability=0.25, problem="wrong", model="j")
    rejected = answer.model_copy(update={"judge": judged, "rejected_by": "judge"})
    assert Answer.model_validate_json(rejected.model_dump_json()) == rejected
