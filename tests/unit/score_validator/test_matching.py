import numpy as np
import pytest

from score_validator.matching import Embedded, match


def text(*vectors, special=()):
    rows = np.array([*vectors, *special], dtype=np.float32)
    weights = np.array([1] * len(vectors) + [0] * len(special), dtype=np.float32)
    return Embedded(rows / np.linalg.norm(rows, axis=1, keepdims=True), weights)


def test_equal_texts_have_score_1():
    same = text((1, 0, 0), (0, 1, 0))
    assert match(same, same) == pytest.approx((1, 1, 1))


def test_each_token_is_compared_with_its_best_match():
    # 'east' matches; 'north-east' is 45 degrees from it: precision is the mean of 1 and cos 45, recall is 1.
    precision, recall, f1 = match(text((1, 0), (1, 1)), text((1, 0)))
    assert precision == pytest.approx((1 + 0.5**0.5) / 2)
    assert recall == pytest.approx(1)
    assert f1 == pytest.approx(2 * precision / (precision + 1))


def test_special_tokens_can_be_matched_but_have_no_weight():
    other = text((1, 0), special=[(0, 1)])
    assert match(text((0, 1)), other).precision == pytest.approx(1)
    assert match(text((0, 1)), other).recall == pytest.approx(0)


def test_opposite_texts_have_score_minus_1():
    assert match(text((1, 0)), text((-1, 0))) == pytest.approx((-1, -1, -1))


def test_orthogonal_texts_have_score_0():
    assert match(text((1, 0)), text((0, 1))) == (0, 0, 0)


def test_a_text_of_special_tokens_only_has_no_words():
    assert not text(special=[(1, 0)]).has_words
    assert text((1, 0)).has_words
