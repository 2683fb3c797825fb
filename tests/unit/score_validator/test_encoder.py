import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from score_validator.encoder import MAX_PADDING, MAX_RUN_TEXTS, MAX_RUN_TOKENS, Cache, runs
from score_validator.matching import Embedded


@given(st.lists(st.integers(2, 512), max_size=60))
def test_runs_hold_every_text_once_within_the_limits(lengths):
    made = list(runs(lengths))
    assert sorted(index for run in made for index in run) == list(range(len(lengths)))
    for run in made:
        padded = max(lengths[index] for index in run) * len(run)
        assert len(run) <= MAX_RUN_TEXTS
        assert padded <= MAX_RUN_TOKENS
        assert padded - sum(lengths[index] for index in run) <= MAX_PADDING * padded


def test_a_text_can_be_a_run_of_its_own():
    assert [len(run) for run in runs([20] * 5, max_texts=1)] == [1] * 5


def test_equal_texts_fill_runs():
    assert [len(run) for run in runs([20] * 17)] == [8, 8, 1]


def text(tokens):
    return Embedded(np.zeros((tokens, 4), dtype=np.float32), np.ones(tokens, dtype=np.float32))


def test_the_cache_gives_back_what_was_put_in():
    cache = Cache(1000)
    kept = text(2)
    cache.put(b"a", kept)
    assert cache.get(b"a") is kept
    assert cache.get(b"b") is None


def test_the_least_used_text_makes_room():
    cache = Cache(2 * (1 + 2 * 4 * 4 + 2 * 4))
    cache.put(b"a", text(2))
    cache.put(b"b", text(2))
    assert cache.get(b"a") is not None
    cache.put(b"c", text(2))
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None
    assert cache.get(b"c") is not None


@pytest.mark.parametrize("limit", [0, 100])
def test_the_cache_stays_within_its_memory(limit):
    cache = Cache(limit)
    for number in range(50):
        cache.put(str(number).encode(), text(number % 5 + 1))
        cache.put(str(number).encode(), text(number % 5 + 1))
        assert cache.size <= limit
