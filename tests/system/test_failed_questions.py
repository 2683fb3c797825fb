"""Failed questions are listed, and retried singly or many by one command."""

import pytest

from tests.fleet import API

REFERENCE = "Water boils at one hundred degrees Celsius at sea level."
REFUSED = (400, {}, "no")


def listed(**filters):
    reply = API.send("GET", "/failed", params=filters)
    assert reply.status_code == 200, reply.text
    return reply.json()


def retry(question_id):
    return API.send("POST", f"/failed/{question_id}/retry")


def command(fleet, *arguments, check=True):
    return fleet.exec("storage-service", "python", "-m", "storage_service.retry_failed", *arguments, check=check)


@pytest.fixture
def failing(fleet, scripted, unique):
    """Returns a function that asks questions whose first call fails and second succeeds, and gives ids by text."""

    def ask(word, count=1):
        ids = {}
        for number in range(count):
            text = unique(f"{word} {number}: 100% of what_boils?")
            scripted.script(text, REFUSED, REFERENCE)
            ids[text] = fleet.ask(text, REFERENCE).json()["question_id"]
        for question_id in ids.values():
            assert fleet.finish(question_id, 60)["status"] == "failed"
        return ids

    return ask


def test_a_failed_question_is_listed_and_retried_once(fleet, scripted, failing):
    [(text, question_id)] = failing("Retried").items()
    found = listed(text=text.upper(), reason="not_retryable")
    assert found["total"] == 1
    [entry] = found["failed"]
    assert (entry["question_id"], entry["question_text"], entry["reason"]) == (question_id, text, "not_retryable")
    assert (entry["retry_count"], "400" in entry["last_error"]) == (0, True)
    assert listed(text=text, until=entry["failed_at"])["total"] == 0
    assert listed(text=text, since=entry["failed_at"])["total"] == 1

    first = retry(question_id)
    assert (first.status_code, first.json()["status"]) == (202, "pending")
    assert first.headers["Location"] == f"/status/{question_id}"
    final = fleet.finish(question_id)
    assert (final["status"], final["result"]["llm_response"]) == ("completed", REFERENCE)

    second = retry(question_id)
    assert (second.status_code, second.json()["status"]) == (200, "completed")
    assert fleet.status(question_id) == final
    assert len(scripted.calls(text)) == 2, "one call that failed and one for the retry"
    assert listed(text=text)["total"] == 0


def test_unknown_questions_are_404(fleet):
    assert retry("0" * 32).status_code == 404


def test_many_are_retried_by_one_command(fleet, scripted, failing, unique):
    word = unique("Many")
    ids = failing(word, count=5)
    selection = ("--text", word.lower(), "--reason", "not_retryable")
    shown = command(fleet, *selection, "--dry-run")
    assert all(question_id in shown for question_id in ids.values())
    assert {fleet.status(question_id)["status"] for question_id in ids.values()} == {"failed"}

    summary = command(fleet, *selection, "--rate", "20")
    assert "restarted" in summary
    for text, question_id in ids.items():
        assert fleet.finish(question_id)["status"] == "completed"
        assert len(scripted.calls(text)) == 2
    left = command(fleet, *selection, "--dry-run")
    assert not any(question_id in left for question_id in ids.values())


def test_an_unreachable_service_is_reported(fleet):
    output = command(fleet, "--url", "http://localhost:1", check=False)
    assert "cannot reach http://localhost:1" in output
