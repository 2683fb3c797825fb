from score_validator.idf import Idf


def test_rare_tokens_weigh_more_and_tokens_of_every_text_weigh_zero():
    counts = Idf.count([["[CLS]", "the", "sky", "the"], ["[CLS]", "the", "sea"]], "two texts")
    assert counts.documents == {"[CLS]": 2, "sea": 1, "sky": 1, "the": 2}
    weights = counts.by_id({"[CLS]": 7, "the": 8, "sky": 9}.get)
    assert weights[7] == weights[8] == 0
    assert 0 < weights[9] < counts.weight(0)
    assert set(weights) == {7, 8, 9}
