import pytest

from tests.drills.faults import ALL
from tests.drills.scripts import SCRIPTS, USUAL, Mix

TEXTS = [f"Drill kill, question {number}: why? (0123456789ab)" for number in range(4000)]


def test_the_script_depends_on_the_text_without_its_suffix_and_on_the_seed():
    names = [Mix(USUAL, 1).name_of(text) for text in TEXTS]
    assert [Mix(USUAL, 1).name_of(text.upper()) for text in TEXTS] == names
    assert [Mix(USUAL, 1).name_of(text.replace("0123", "4567")) for text in TEXTS] == names
    assert [Mix(USUAL, 2).name_of(text) for text in TEXTS] != names


def test_scripts_are_chosen_by_their_shares():
    names = [Mix(USUAL).name_of(text) for text in TEXTS]
    for name, share in USUAL.items():
        expected = share / sum(USUAL.values()) * len(TEXTS)
        assert names.count(name) == pytest.approx(expected, abs=5 * expected**0.5), name


def test_a_mix_of_one_script_always_chooses_it():
    assert {Mix({"empty": 0.1}).name_of(text) for text in TEXTS} == {"empty"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_needs_more_attempts_or_calls_than_allowed(name):
    script = SCRIPTS[name]
    assert 1 <= script.generations <= 3
    assert all(1 <= script.calls(attempt) <= 4 for attempt in range(1, script.generations + 1))
    assert script.calls(4) == 0


@pytest.mark.parametrize("name", ALL)
def test_every_fault_uses_existing_scripts(name):
    assert ALL[name].name == name
    assert set(ALL[name].mix) <= set(SCRIPTS)
    assert ALL[name].times >= 1
