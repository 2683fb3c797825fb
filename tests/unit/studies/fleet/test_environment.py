import pytest

from studies.fleet.environment import waiting
from studies.fleet.environment.questions import unique_questions


class Rows:
    """A database whose counts are told beforehand."""

    def __init__(self, *counts):
        self.counts = list(counts)

    def rows(self, _statement, *_values):
        return [self.counts.pop(0)]


def test_questions_are_new_and_share_their_beginning():
    beginning, texts = unique_questions(3)
    assert len({*texts, *unique_questions(3)[1]}) == 6
    assert all(text.startswith(f"{beginning}, question ") for text in texts)


def test_waiting_ends_with_the_last_completed_question(monkeypatch):
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0)
    database = Rows((0, 0), (9, 0), (10, 0), (11, 0))
    looks = []
    assert waiting.wait_until_completed(database, "b", 10, 0, 60, lambda: looks.append(1)) > 0
    assert (database.counts, len(looks)) == ([(11, 0)], 2)


@pytest.mark.parametrize(("counts", "seconds"), [((5, 1), 60), ((5, 0), -1)])
def test_a_failed_or_late_question_is_no_measurement(counts, seconds):
    with pytest.raises(SystemExit, match="could not measure: 5 of 10"):
        waiting.wait_until_completed(Rows(counts), "b", 10, 0, seconds)
