import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from score_validator.encoder import ALONE, ON_A_CORE, ON_A_DEVICE, Cache, encoder_name, runs
from score_validator.matching import Embedded


@given(st.lists(st.integers(2, 512), max_size=60), st.sampled_from([ALONE, ON_A_CORE, ON_A_DEVICE]))
def test_runs_contain_every_text_once_and_keep_the_limits(lengths, limits):
    made = list(runs(lengths, limits))
    assert sorted(index for run in made for index in run) == list(range(len(lengths)))
    for run in made:
        padded = max(lengths[index] for index in run) * len(run)
        assert len(run) <= limits.texts
        assert padded <= limits.tokens
        assert padded - sum(lengths[index] for index in run) <= limits.padding * padded


def test_a_limit_of_one_text_makes_runs_of_one_text():
    assert [len(run) for run in runs([20] * 5, ALONE)] == [1] * 5


def test_texts_of_equal_length_fill_runs():
    assert [len(run) for run in runs([20] * 17, ON_A_CORE)] == [8, 8, 1]


def text(tokens):
    return Embedded(np.zeros((tokens, 4), dtype=np.float32), np.ones(tokens, dtype=np.float32))


def test_the_cache_returns_a_stored_text():
    cache = Cache(1000)
    kept = text(2)
    cache.put(b"a", kept)
    assert cache.get(b"a") is kept
    assert cache.get(b"b") is None


def test_the_least_recently_used_text_is_evicted():
    cache = Cache(2 * (1 + 2 * 4 * 4 + 2 * 4))
    cache.put(b"a", text(2))
    cache.put(b"b", text(2))
    assert cache.get(b"a") is not None
    cache.put(b"c", text(2))
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None
    assert cache.get(b"c") is not None


@pytest.mark.parametrize("limit", [0, 100])
def test_the_cache_stays_within_its_limit_of_bytes(limit):
    cache = Cache(limit)
    for number in range(50):
        cache.put(str(number).encode(), text(number % 5 + 1))
        cache.put(str(number).encode(), text(number % 5 + 1))
        assert cache.size <= limit


def test_an_encoder_is_named_after_its_model_and_layer(tmp_path):
    folder = tmp_path / "my-encoder"
    folder.mkdir()
    assert encoder_name("", 5) == "all-MiniLM-L6-v2/layer5-idf"
    assert encoder_name("", 6) == "all-MiniLM-L6-v2/layer6"
    assert encoder_name(f"{folder}/", 3) == "my-encoder/layer3"
    assert encoder_name("microsoft/deberta-xlarge-mnli", 40) == "microsoft/deberta-xlarge-mnli/layer40"
