from unittest.mock import MagicMock, Mock

import docker.errors
import pytest

from studies.fleet.environment import waiting
from studies.fleet.environment.containers import running_container
from studies.fleet.environment.fakes import fake_scorer
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


def test_a_container_replaces_one_that_was_left_and_is_removed_at_the_end():
    fleet, left = Mock(), Mock()
    fleet.docker.containers.list.return_value = [left]
    with running_container(fleet, "image", "name", mem_limit="1g") as container:
        left.remove.assert_called_once_with(force=True)
        assert fleet.run.call_args.args[0::2] == ("image", "name")
        assert fleet.run.call_args.kwargs == {"mem_limit": "1g"}
        container.remove.assert_not_called()
    container.remove.assert_called_once_with(force=True, v=True)


def test_without_its_image_nothing_is_measured():
    fleet = Mock()
    fleet.docker.containers.list.return_value = []
    fleet.run.side_effect = docker.errors.ImageNotFound("none")
    with pytest.raises(SystemExit, match="there is no image i"), running_container(fleet, "i", "name"):
        pass


def test_the_real_scorer_gets_its_names_back_if_the_fake_does_not_start():
    fleet, real = MagicMock(), Mock()
    fleet.containers.return_value = [real]
    fleet.docker.containers.list.return_value = []
    fleet.run.side_effect = docker.errors.ImageNotFound("none")
    with pytest.raises(SystemExit), fake_scorer(fleet):
        pass
    names = [call.args for call in fleet.reconnect.call_args_list]
    assert names == [(real, ["scorer-beside-benchmark"]), (real, ["score-validator", "score_validator"])]
