import pytest

from tests.drills.faults import ALL
from tests.drills.scripts import SCRIPTS, USUAL, Mix

TEXTS = [f"Drill kill, question {number}: why? (0123456789ab)" for number in range(4000)]


def test_a_script_follows_from_the_text_and_the_seed():
    dealt = [Mix(USUAL, 1).name_of(text) for text in TEXTS]
    assert [Mix(USUAL, 1).name_of(text.upper()) for text in TEXTS] == dealt
    assert [Mix(USUAL, 1).name_of(text.replace("0123", "4567")) for text in TEXTS] == dealt
    assert [Mix(USUAL, 2).name_of(text) for text in TEXTS] != dealt


def test_shares_are_kept():
    dealt = [Mix(USUAL).name_of(text) for text in TEXTS]
    for name, share in USUAL.items():
        wanted = share / sum(USUAL.values()) * len(TEXTS)
        assert dealt.count(name) == pytest.approx(wanted, abs=5 * wanted**0.5), name


def test_a_mix_of_one_deals_it_always():
    assert {Mix({"empty": 0.1}).name_of(text) for text in TEXTS} == {"empty"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_needs_more_than_the_rules_allow(name):
    script = SCRIPTS[name]
    assert 1 <= script.generations <= 3
    assert all(1 <= script.calls(attempt) <= 4 for attempt in range(1, script.generations + 1))
    assert script.calls(4) == 0


@pytest.mark.parametrize("name", ALL)
def test_every_fault_uses_scripts_that_there_are(name):
    assert ALL[name].name == name
    assert set(ALL[name].mix) <= set(SCRIPTS)
    assert ALL[name].times >= 1
