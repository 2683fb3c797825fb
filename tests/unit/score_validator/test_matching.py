import numpy as np
import pytest

from score_validator.matching import Embedded, match


def text(*vectors, frame=()):
    rows = np.array([*vectors, *frame], dtype=np.float32)
    weights = np.array([1] * len(vectors) + [0] * len(frame), dtype=np.float32)
    return Embedded(rows / np.linalg.norm(rows, axis=1, keepdims=True), weights)


def test_equal_texts_score_one():
    same = text((1, 0, 0), (0, 1, 0))
    assert match(same, same) == pytest.approx((1, 1, 1))


def test_each_token_takes_its_best_match():
    # 'east' is there; 'north-east' is 45 degrees from it: precision is the mean of 1 and cos 45, recall is 1.
    precision, recall, f1 = match(text((1, 0), (1, 1)), text((1, 0)))
    assert precision == pytest.approx((1 + 0.5**0.5) / 2)
    assert recall == pytest.approx(1)
    assert f1 == pytest.approx(2 * precision / (precision + 1))


def test_the_frame_can_be_matched_but_does_not_count():
    framed = text((1, 0), frame=[(0, 1)])
    assert match(text((0, 1)), framed).precision == pytest.approx(1)
    assert match(text((0, 1)), framed).recall == pytest.approx(0)


def test_opposites_are_negative():
    assert match(text((1, 0)), text((-1, 0))) == pytest.approx((-1, -1, -1))


def test_orthogonal_texts_do_not_divide_by_zero():
    assert match(text((1, 0)), text((0, 1))) == (0, 0, 0)


def test_a_text_of_its_frame_alone_has_no_words():
    assert not text(frame=[(1, 0)]).has_words
    assert text((1, 0)).has_words
