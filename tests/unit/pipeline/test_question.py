import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.question import normalise, question_id


def test_case_width_and_white_space_do_not_matter():
    assert question_id("Why  is the\tSKY blue? ") == question_id("why is the sky blue?")
    assert question_id("ｗｈｙ") == question_id("why")  # noqa: RUF001


@pytest.mark.parametrize("other", ["Why is the sea blue?", "Why is the sky blue", ""])
def test_another_text_is_another_question(other):
    assert question_id("Why is the sky blue?") != question_id(other)


def test_context_counts_and_an_empty_one_is_none():
    assert question_id("a", "b") != question_id("a")
    assert question_id("a", "") == question_id("a", None)
    assert question_id("a b", "c") != question_id("a", "b c")


def test_id_is_the_head_of_a_sha256():
    # printf 'why?\n' | sha256sum
    assert question_id("Why?") == "cb9945c0962ea9dc28e96b0f3f3ab6b7"


@given(st.text(), st.text())
def test_id_depends_on_the_normalised_text_alone(text, context):
    assert question_id(normalise(text), normalise(context)) == question_id(text, context)
