from decimal import Decimal
from pathlib import Path

import pytest

from score_validator.contradictions import contradictions, names, numbers
from studies.threshold.questions import LABELLED_FILE, read_labelled

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Water boils at one hundred degrees.", [100]),
        ("365.25 days, or twenty-four hours", ["365.25", 24]),
        ("1,000,000 people, 1 500 metres", [1_000_000, 1, 500]),
        ("1\u202f500 metres", [1500]),
        ("in 1969, 12 men", [1969, 12]),
        ("100 % and 100.0 %", [100]),
        ("the second one; no one; I am one of them", []),
        ("H2O, B12 and mp3", [2, 12, 3]),
    ],
)
def test_numbers_are_found_in_digits_and_in_words(text, found):
    assert numbers(text) == {Decimal(each) for each in found}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The capital of France is Paris. Lyon is larger: Marseille, too.", {"france", "paris"}),
        ("It's what I say, and I'm sure of NASA's plans.", {"nasa"}),
        ("nothing here", set()),
    ],
)
def test_names_are_capital_words_within_a_sentence(text, found):
    assert names(text) == found


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("It was in 1972.", "In 1969.", ("other_number",)),
        ("It is Lyon.", "It is Paris.", ("other_name",)),
        ("In 1972 it was Lyon.", "In 1969 it was Paris.", ("other_number", "other_name")),
        ("It has eight legs.", "A spider has 8 legs.", ()),
        ("In 1969, on day 200.", "It was in 1969.", ()),
        ("No number.", "In 1969.", ()),
        ("", "", ()),
    ],
)
def test_a_contradiction_needs_something_that_each_text_lacks(answer, reference, expected):
    assert contradictions(answer, reference) == expected


@pytest.mark.parametrize(
    ("label", "with_other_number", "with_other_name"), [("good", 2, 3), ("partly", 1, 1), ("wrong", 14, 4)]
)
def test_labelled_answers_have_the_documented_share_of_contradictions(label, with_other_number, with_other_name):
    """docs/score.md names these shares of 56 answers each."""
    answers = [each for each in read_labelled(ROOT / LABELLED_FILE) if each.label == label]
    found = [contradictions(each.answer, each.reference) for each in answers]
    assert len(found) == 56
    assert sum("other_number" in each for each in found) == with_other_number
    assert sum("other_name" in each for each in found) == with_other_name
