"""The study of agreement, with a scorer that counts equal words (a fake, for tests only)."""

from datetime import date

import pytest

from studies.reporting.statistics import Interval
from studies.self_check.study import Sampled, advise, agreements, document, read_samples, unrelated_samples, verdict
from studies.threshold.questions import Labelled
from studies.threshold.scores import Scores
from tests.unit.score_validator.fakes import FakeScorer

DAY = date(2026, 1, 2)
SAMPLED = [
    Sampled("q1", "air scatters", "air scatters blue", ("air scatters", "blue paint"), "m"),
    Sampled("q2", "two litres", "two litres daily", ("two litres", "three cups"), "m"),
    Sampled("q3", "in Paris", "the tower in Paris", ("in Paris", "in Rome"), "m"),
]


def labelled(label, *answers):
    return [Labelled(f"q{number}", "a reference", label, answer) for number, answer in enumerate(answers, 1)]


def test_agreement_is_the_mean_over_the_samples_of_each_answer():
    scorer = FakeScorer()
    [half, none, blank] = agreements(Scores(scorer), [("a b", ("a b", "c")), ("a", ("c",)), (" ", ("a", "b"))])
    chance = -scorer.baseline / (1 - scorer.baseline)
    assert half == pytest.approx((1 + chance) / 2)
    assert (none, blank) == (pytest.approx(chance), pytest.approx(chance))


def test_unrelated_samples_are_the_samples_of_other_questions():
    own = {each.answer: each.samples for each in SAMPLED}
    pairs = unrelated_samples(SAMPLED, 10, seed=1)
    assert len(pairs) == 6
    assert all(own[answer] != samples for answer, samples in pairs)


@pytest.mark.parametrize(
    ("hard", "threshold"),
    [(Interval(0.6, 0.45, 0.7), 0.2), (Interval(0.7, 0.6, 0.8), 0.51), (Interval(0.3, 0.2, 0.4), 0.2)],
)
def test_more_than_chance_is_asked_for_only_where_agreement_means_better(hard, threshold):
    assert advise([0.2] * 100, [0.505] * 100, hard).threshold == threshold


def test_chance_never_passes_even_if_good_answers_agree_less():
    assert advise([0.4] * 100, [0.1] * 100, Interval(0.7, 0.6, 0.8)).threshold == 0.4


def test_the_verdict_names_what_is_worse_than_a_coin():
    assert "prefers the wrong" in verdict(Interval(0.3, 0.2, 0.4))
    assert "does not know" in verdict(Interval(0.5, 0.4, 0.6))
    assert verdict(Interval(0.7, 0.6, 0.8)) == "a hint, no proof."


def test_the_document_has_its_threshold_and_its_picture(tmp_path):
    answers = [
        *labelled("good", "air scatters", "two litres", "in Paris"),
        *labelled("wrong", "green paint", "nine litres", "in Rome"),
        *labelled("partly", "air", "two", "Paris"),
        *labelled("off_topic", "bread", "dough", "salt"),
        Labelled("without samples", "a reference", "good", "not counted"),
    ]
    text = document(Scores(FakeScorer()), "fake/words", answers, SAMPLED, 0.3, tmp_path, DAY)
    assert "SELF_CHECK_THRESHOLD=" in text
    assert "- 12 labelled answers" in text
    assert (tmp_path / "self-check.png").stat().st_size > 1000


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"question_text": "q"}', "nothing"])
def test_what_has_no_samples_is_told_with_its_line(line):
    with pytest.raises(ValueError, match="line 1"):
        read_samples([line])


def test_questions_without_samples_cannot_be_studied(tmp_path):
    with pytest.raises(ValueError, match="too few"):
        document(Scores(FakeScorer()), "fake/words", labelled("good", "a"), [], 0.3, tmp_path, DAY)
