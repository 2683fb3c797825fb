from score_validator.verify import PAIRS, difference


def test_the_pairs_are_varied():
    assert len(PAIRS) >= 20
    assert len(set(PAIRS)) == len(PAIRS)
    texts = [text for pair in PAIRS for text in pair]
    assert all(text.strip() for text in texts)
    assert max(map(len, texts)) > 3000
    assert min(map(len, texts)) == 1
    assert sum(not text.isascii() for text in texts) >= 10


def test_difference_is_the_largest_deviation():
    assert difference((0.1, 0.2, 0.3), (0.1, 0.25, 0.28)) == 0.04999999999999999
