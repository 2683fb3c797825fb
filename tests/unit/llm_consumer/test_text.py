import pytest

from llm_consumer.text import storable, whole_sentences


@pytest.mark.parametrize(
    ("cut", "whole"),
    [
        ("One. Two. And thr", "One. Two."),
        ("One. Two.", "One. Two."),
        ("Is it? Yes! But", "Is it? Yes!"),
        ("no sentence at all", "no sentence at all"),
        ("First.\nSecond, bu", "First."),
        ("Pi is 3.14 and", "Pi is 3.14 and"),
    ],
)
def test_an_answer_that_was_cut_ends_with_its_last_sentence(cut, whole):
    assert whole_sentences(cut) == whole


@pytest.mark.parametrize(
    ("text", "kept"), [("naïve 🙂", "naïve 🙂"), ("a\x00b", "a\ufffdb"), ("a\ud800b", "a?b"), ("", "")]
)
def test_what_cannot_be_stored_is_replaced(text, kept):
    assert storable(text) == kept
