from collections import Counter
from pathlib import Path

import pytest

from studies.answers.labelled import DATA, LABELS, kappa, read

ROOT = Path(__file__).parents[4]


def test_each_recorded_answer_has_three_labels():
    answers = read(ROOT / DATA)
    for model, count in Counter(answer.model for answer in answers).items():
        assert count == 300, model
    assert all(len(answer.readings) == 3 and set(answer.readings) <= set(LABELS) for answer in answers)


def test_all_answers_to_a_question_are_in_the_same_part_and_both_parts_are_large():
    answers = read(ROOT / DATA)
    parts = Counter(part for _, part in {(answer.question_id, answer.part) for answer in answers})
    assert sum(parts.values()) == len({answer.question_id for answer in answers}) == 100
    assert min(parts.values()) >= 40


def test_the_middle_label_counts():
    answer = read(ROOT / DATA)[0]
    assert answer._replace(readings=("right", "wrong", "partly")).label == "partly"
    assert answer._replace(readings=("right", "wrong", "wrong")).label == "wrong"
    assert answer._replace(readings=("right", "wrong", "right")).label == "right"


def test_an_answer_without_label_is_an_error(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"question_id": "0a", "attempt": 1}\n')
    (tmp_path / "m.csv").write_text("question_id,attempt,first,second,third\n0a,2,right,right,right\n")
    with pytest.raises(ValueError, match="no label for attempt 1 of 0a"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("ab", "ab", 1), ("aabb", "abab", 0), ("ab", "ba", -1), ("aa", "aa", 1), ("aaab", "aabb", 0.5)],
)
def test_kappa_is_1_for_full_agreement_and_0_for_chance(one, other, expected):
    assert kappa(list(one), list(other)) == pytest.approx(expected)
