"""Rate limits and outages of a scripted provider delay questions but fail none."""

import pytest

from tests.limited import allowed_seconds, ask_all
from tests.scripted_provider import TOKENS, RateLimit, ScriptedProvider, answer

PER_MINUTE = 20
SLACK_SECONDS = 20


@pytest.fixture
def provider():
    made = []

    def make(limit=None, seconds=1.0):
        made.append(ScriptedProvider(lambda _: [[answer("Because of scattering.", seconds)]], limit))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize(
    ("limit", "questions", "workers", "most_refused", "flushed"),
    [
        pytest.param(RateLimit(PER_MINUTE), 3 * PER_MINUTE, 2, 0.3, True, id="no hint, Redis flushed"),
        pytest.param(RateLimit(PER_MINUTE, headers=True), 2 * PER_MINUTE, 4, 0.1, False, id="headers"),
        pytest.param(
            RateLimit(tokens=PER_MINUTE * TOKENS, headers=True),
            2 * PER_MINUTE,
            1,
            0.1,
            True,
            id="tokens, Redis flushed",
        ),
    ],
)
def test_all_questions_are_answered_within_the_time_required_by_the_limit(
    fleet, unique, provider, limit, questions, workers, most_refused, flushed
):
    limited_provider = provider(limit)
    texts = [unique(f"Why is the sky blue, {number}?") for number in range(questions)]
    left = [30.0] if flushed else []

    def flush(since):
        if left and since > left[0]:
            left.pop()
            fleet.cache.flushall()

    found = ask_all(fleet, limited_provider, texts, workers, 300, flush)
    assert (found.completed, found.failed) == (questions, 0)
    assert found.answered == questions, "each question must take exactly one call"
    assert found.refused <= most_refused * found.answered
    assert found.seconds <= 1.15 * allowed_seconds(questions, PER_MINUTE) + SLACK_SECONDS
    assert not left


def test_an_outage_fails_no_question(fleet, unique, provider):
    limited_provider = provider(seconds=0.5)
    texts = [unique(f"Who is there, {number}?") for number in range(500)]
    down_for = 45.0
    state = {"down": False, "over": False}

    def break_down(since):
        if not state["down"] and since > 3:
            limited_provider.go_down()
            state["down"] = True
        if not state["over"] and since > 3 + down_for:
            limited_provider.come_up()
            state["over"] = True

    found = ask_all(fleet, limited_provider, texts, 2, 400, break_down)
    assert (found.completed, found.failed) == (500, 0)
    assert state["over"]
    [row] = fleet.sql(
        "SELECT max(retry) AS retry FROM call_errors JOIN questions USING (question_id) "
        "WHERE question_text LIKE 'Who is there, %%' AND cause = 'unavailable'"
    )
    assert (row["retry"] or 0) <= 1, "an outage must use up no retries"
