from datetime import UTC, datetime

import pytest

from pipeline import messages, topics
from studies.fleet import retries


def test_failed_calls_are_messages_of_their_topic():
    failed_at = datetime(2026, 1, 1, tzinfo=UTC)
    calls = retries.failed_calls(3, failed_at)
    assert len({each.question_id for each in calls}) == 3
    for each in calls:
        read = messages.read(topics.ERROR_QUOTA, each.question_id.encode(), each.to_bytes())
        assert (read.error.type, read.failed_at, read.original_answer) == ("quota", failed_at, None)


def test_lateness_counts_from_the_end_of_the_wait():
    run = retries.summary(1000.0, [1060.1, 1060.3, 1062.0], [50.0, 80.0, 54.0])
    assert run["errors"] == 3
    assert run["all again after, s"] == pytest.approx(62)
    assert [run["earliest, s"], run["late p50, s"], run["late p99, s"]] == pytest.approx([0.1, 0.3, 2.0])
    assert (run["MiB before"], run["MiB at most"], run["MiB after"]) == (50, 80, 54)


def test_the_worst_round_counts():
    rounds = [retries.summary(0.0, [61.0], [50.0, 51.0]), retries.summary(0.0, [66.0], [50.0, 60.0])]
    time, memory = retries.compare(rounds)
    assert (time.judged, time.met) == (66, False)
    assert (memory.judged, memory.met) == (1.2, False)
    assert all(each.met for each in retries.compare(rounds[:1]))
