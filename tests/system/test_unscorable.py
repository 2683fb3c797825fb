"""Answers that the scorer cannot read, with a scripted model."""

import pytest

REFERENCE = "Water boils at one hundred degrees Celsius at sea level."
THAI = "น้ำเดือดที่หนึ่งร้อยองศาเซลเซียสที่ระดับน้ำทะเล"
SPANISH = "El agua hierve a cien grados Celsius al nivel del mar, y a menos grados en las montañas."
EMOJI = "😍🔥"
POOR = "Bananas are yellow and grow in bunches."


@pytest.fixture
def ask_scripted(fleet, scripted, unique):
    """Returns a function that asks a new question with a script and returns its text and its final status."""

    def ask(*steps, reference=REFERENCE, references=None):
        text = unique("At what temperature does water boil?")
        scripted.script(text, *steps)
        question_id = fleet.ask(text, reference, references=references).json()["question_id"]
        return text, fleet.finish(question_id, 60)

    return ask


@pytest.mark.parametrize(
    ("answer", "reason"), [(THAI, "other_language"), (SPANISH, "other_language"), (EMOJI, "unknown_tokens")]
)
def test_an_unreadable_answer_ends_unscored_with_its_reason(fleet, scripted, ask_scripted, answer, reason):
    text, final = ask_scripted(answer)
    result = final["result"]
    assert (result["quality"], result["bert_score"], result["unscored_reason"]) == ("unscored", None, reason)
    assert (result["llm_response"], result["processing_attempts"]) == (answer, 3)
    assert len(scripted.calls(text)) == 3
    [row] = fleet.sql("SELECT unscored_reason, warnings FROM responses WHERE question_id = %s", final["question_id"])
    assert (row["unscored_reason"], row["warnings"]) == (reason, [])


def test_an_unreadable_reference_ends_at_once(scripted, ask_scripted):
    text, final = ask_scripted(REFERENCE, reference=THAI)
    result = final["result"]
    assert (result["quality"], result["unscored_reason"]) == ("unscored", "other_language")
    assert len(scripted.calls(text)) == 1


def test_a_scored_answer_is_kept_rather_than_an_unreadable_one(ask_scripted):
    _, final = ask_scripted(POOR, THAI, THAI)
    result = final["result"]
    assert (result["quality"], result["llm_response"]) == ("max_retries_reached", POOR)
    assert result["unscored_reason"] is None


def test_an_answer_that_repeats_itself_has_a_warning(ask_scripted):
    _, final = ask_scripted(" ".join([REFERENCE] * 20))
    assert final["result"]["bert_score"] is not None
    assert final["result"]["warnings"] == ["repetition"]


def test_an_unreadable_reference_is_left_out_beside_a_readable_one(ask_scripted):
    _, final = ask_scripted(REFERENCE, reference=THAI, references=[REFERENCE])
    result = final["result"]
    assert (result["quality"], result["reference_index"], result["unscored_reason"]) == ("accepted", 1, None)
    assert result["bert_score"] == pytest.approx(1, abs=1e-4)


def test_only_unreadable_references_end_at_once(scripted, ask_scripted):
    text, final = ask_scripted(REFERENCE, reference=THAI, references=[SPANISH])
    result = final["result"]
    assert (result["quality"], result["unscored_reason"]) == ("unscored", "other_language")
    assert result["reference_index"] is None
    assert len(scripted.calls(text)) == 1
