"""The data that the study rests on."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from score_validator.idf import FILE, Idf
from studies.self_check.study import SAMPLES_FILE, read_samples
from studies.threshold.calibrate import summary, unrelated_pairs
from studies.threshold.questions import LABELLED_FILE, LABELS, QUESTIONS_FILE, read_labelled, read_references
from studies.threshold.study import ATTEMPTS_FILE, read_attempts, shuffled

ROOT = Path(__file__).parents[4]


def test_the_labelled_answers_are_what_their_readme_says():
    answers = read_labelled(ROOT / LABELLED_FILE)
    assert Counter(answer.label for answer in answers) == {
        "good": 56, "partly": 56, "wrong": 56, "off_topic": 56, "gibberish": 20, "empty": 8
    }  # fmt: skip
    assert len({answer.question for answer in answers}) == 56
    assert len({answer.answer for answer in answers if answer.label != "empty"}) == 244
    assert all(bool(answer.answer.strip()) is (answer.label != "empty") for answer in answers)


def test_their_questions_and_references_are_those_of_the_question_set():
    with (ROOT / QUESTIONS_FILE).open(newline="", encoding="utf-8") as lines:
        known = {row["question_text"]: row["original_answer"] for row in csv.DictReader(lines)}
    assert all(known[answer.question] == answer.reference for answer in read_labelled(ROOT / LABELLED_FILE))


def test_an_unknown_label_is_told(tmp_path):
    (tmp_path / "a.csv").write_text("question_text,original_answer,label,answer\nq,r,superb,a\n")
    with pytest.raises(ValueError, match="superb"):
        read_labelled(tmp_path / "a.csv")


def test_the_attempts_are_complete():
    with (ROOT / ATTEMPTS_FILE).open(encoding="utf-8") as lines:
        attempts = read_attempts(lines)
    assert Counter(attempt.number for attempt in attempts) == {1: 100, 2: 100, 3: 100}
    labelled = {answer.reference for answer in read_labelled(ROOT / LABELLED_FILE)}
    assert not labelled & {attempt.reference for attempt in attempts}


def test_the_samples_are_of_labelled_questions_and_differ_from_the_answer():
    with (ROOT / SAMPLES_FILE).open(encoding="utf-8") as lines:
        sampled = read_samples(lines)
    references = {answer.question: answer.reference for answer in read_labelled(ROOT / LABELLED_FILE)}
    assert len({each.question for each in sampled}) == len(sampled) == 56
    assert all(references[each.question] == each.reference for each in sampled)
    assert {len(each.samples) for each in sampled} == {3}
    assert all(text.strip() for each in sampled for text in (each.answer, *each.samples))


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"question_id": "q"}', "nothing"])
def test_what_is_no_attempt_is_told_with_its_line(line):
    with pytest.raises(ValueError, match="line 1"):
        read_attempts([line])


def test_no_answer_is_unrelated_to_its_own_reference():
    with (ROOT / ATTEMPTS_FILE).open(encoding="utf-8") as lines:
        attempts = [attempt for attempt in read_attempts(lines) if attempt.number == 1]
    own = {(attempt.answer, attempt.reference) for attempt in attempts}
    pairs = shuffled(attempts, 4, seed=1)
    assert len(pairs) == 400
    assert not own & set(pairs)


def test_unrelated_pairs_are_different_texts_and_each_is_drawn_once():
    texts = [str(number) for number in range(7)]
    pairs = unrelated_pairs(texts, 42, seed=1)
    assert len(set(pairs)) == 42
    assert all(first != second for first, second in pairs)
    assert pairs != unrelated_pairs(texts, 42, seed=2)
    with pytest.raises(ValueError, match="42 pairs"):
        unrelated_pairs(texts, 43, seed=1)


def test_summary():
    assert summary([0.0, 1.0])["mean"] == 0.5


def test_the_weights_of_the_embedded_encoder_are_counted_from_the_question_set():
    counts = Idf.read(FILE)
    assert counts.texts == len(read_references(ROOT / QUESTIONS_FILE))
    assert counts.documents["[CLS]"] == counts.documents["[SEP]"] == counts.texts


def test_labels():
    assert set(LABELS) == {"good", "partly", "wrong", "off_topic", "gibberish", "empty"}
