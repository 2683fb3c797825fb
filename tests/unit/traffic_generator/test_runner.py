"""Tests of a run with a fake API, which observes order and concurrency without relying on the clock."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from pipeline.api_client import QuestionState, RequestFailed
from traffic_generator import runner
from traffic_generator.dataset import Question
from traffic_generator.plan import Plan
from traffic_generator.report import Tally

from .conftest import DEADLINE_SECONDS


def steady(count: int, every: float = 0.0, different: int | None = None) -> Plan:
    """Plans q0, q1, … at fixed intervals in seconds; `different` limits the distinct questions, asked in turn."""
    different = count if different is None else different
    questions = [Question("t", f"q{number}", "", "") for number in range(different)]
    order = [index % different for index in range(count)]
    return Plan(questions, order, [index * every for index in range(count)])


class Api:
    """Fake API that replies with two functions and counts concurrent calls."""

    def __init__(
        self,
        ask: Callable[[str], QuestionState] = lambda text: QuestionState(status="pending", question_id=text),
        poll: Callable[[str, int], QuestionState] = lambda text, _: QuestionState(question_id=text, status="completed"),
    ) -> None:
        self._ask, self._poll = ask, poll
        self._lock = threading.Lock()
        self.asked: list[str] = []
        self.polls: Counter[str] = Counter()
        self.waits: list[int] = []
        self.most_asking = self.max_polling_seen = 0
        self._asking = self._polling = 0

    def ask(self, question: Mapping[str, str]) -> QuestionState:
        text = question["question_text"]
        with self._lock:
            self.asked.append(text)
            self._asking += 1
            self.most_asking = max(self.most_asking, self._asking)
        try:
            return self._ask(text)
        finally:
            with self._lock:
                self._asking -= 1

    def status(self, question_id: str, wait_seconds: int) -> QuestionState:
        with self._lock:
            self.polls[question_id] += 1
            self.waits.append(wait_seconds)
            number = self.polls[question_id]
            self._polling += 1
            self.max_polling_seen = max(self.max_polling_seen, self._polling)
        try:
            return self._poll(question_id, number)
        finally:
            with self._lock:
                self._polling -= 1


def barrier_reply(parties: int) -> Callable[[str], QuestionState]:
    """Returns a function that replies only when `parties` requests are in flight."""
    barrier = threading.Barrier(parties)

    def ask(text: str) -> QuestionState:
        try:
            barrier.wait(DEADLINE_SECONDS)
        except threading.BrokenBarrierError:
            raise RequestFailed("the other requests did not arrive") from None
        return QuestionState(status="completed", question_id=text, source="cache")

    return ask


def test_a_slow_reply_does_not_delay_the_next_question() -> None:
    api = Api(ask=barrier_reply(10))
    report = runner.run(steady(10, 0.01), api, runner.Options())
    assert report.tally.line() == "asked 10  cached 10  pending 0  completed 0  failed 0  errors 0"
    assert api.most_asking == 10


def test_requests_in_flight_are_limited_and_lateness_is_reported() -> None:
    api = Api(ask=lambda text: time.sleep(0.02) or QuestionState(status="pending", question_id=text))  # type: ignore[func-returns-value]
    report = runner.run(steady(12), api, runner.Options(max_asking=3))
    assert api.most_asking == 3
    assert report.tally.pending == 12
    # The last four went out after three rounds of sleeping at least.
    assert report.tally.late_seconds >= 0.06


def test_questions_are_sent_in_order_and_not_before_they_are_due() -> None:
    api = Api()
    report = runner.run(steady(5, 0.05), api, runner.Options())
    assert api.asked == ["q0", "q1", "q2", "q3", "q4"]
    assert report.duration_seconds >= 4 * 0.05


def test_questions_that_became_due_during_a_delay_are_sent_together() -> None:
    # If the runner slept between questions, each check of the counts would find at most one more.
    counts: list[int] = []

    def delay_once(tally: Tally) -> None:
        if not counts:
            time.sleep(0.2)
        counts.append(tally.asked)

    runner.run(steady(10, 0.05), Api(), runner.Options(), on_progress=delay_once)
    assert counts[1] - counts[0] >= 3


def test_without_wait_no_question_is_polled() -> None:
    api = Api()
    report = runner.run(steady(3), api, runner.Options())
    assert (report.tally.pending, report.tally.completed, api.polls) == (3, 0, Counter())
    assert report.ok


def test_with_wait_each_question_is_polled_until_it_is_final() -> None:
    def poll(text: str, number: int) -> QuestionState:
        if text == "q1":
            return QuestionState(question_id=text, status="failed", error={"reason": "not_retryable"})
        return QuestionState(question_id=text, status="completed" if number == 2 else "pending")

    api = Api(poll=poll)
    report = runner.run(steady(3), api, runner.Options(wait=True, timeout_seconds=DEADLINE_SECONDS))
    assert report.tally.line() == "asked 3  cached 0  pending 0  completed 2  failed 1  errors 0"
    assert report.tally.reasons == {"failed: not_retryable": 1}
    assert api.polls == {"q0": 2, "q1": 1, "q2": 2}
    assert len(report.tally.answer_seconds) == 2
    # A server that returns 'pending' without waiting is not polled again at once.
    assert min(report.tally.answer_seconds) >= runner.POLL_INTERVAL_SECONDS


def test_concurrent_polls_are_limited_and_each_question_is_polled_in_turn() -> None:
    stop = threading.Event()

    def poll(text: str, number: int) -> QuestionState:
        time.sleep(0.01)
        # The first two questions stay pending, which must not block the others.
        return QuestionState(question_id=text, status="pending" if text in ("q0", "q1") else "completed")

    def stop_after_six(tally: Tally) -> None:
        if tally.completed == 6:
            stop.set()

    api = Api(poll=poll)
    options = runner.Options(wait=True, timeout_seconds=DEADLINE_SECONDS, max_polling=2)
    report = runner.run(steady(8), api, options, stop=stop, on_progress=stop_after_six)
    assert (report.tally.completed, report.tally.pending) == (6, 2)
    assert api.max_polling_seen == 2


def test_a_timeout_leaves_questions_pending() -> None:
    api = Api(poll=lambda text, number: QuestionState(question_id=text, status="pending"))
    report = runner.run(steady(2), api, runner.Options(wait=True, timeout_seconds=0.1))
    assert (report.tally.pending, report.timed_out, report.ok) == (2, True, False)
    # The requested wait does not exceed the remaining time.
    assert set(api.waits) == {0}


@pytest.mark.parametrize(("pending", "wait"), [(2, runner.LONG_POLL_SECONDS), (8, runner.SHORT_POLL_SECONDS)])
def test_polls_are_long_while_there_is_a_thread_for_each_question(pending: int, wait: int) -> None:
    all_asked = threading.Barrier(pending)

    def ask(text: str) -> QuestionState:
        all_asked.wait(DEADLINE_SECONDS)
        return QuestionState(status="pending", question_id=text)

    def poll(text: str, number: int) -> QuestionState:
        # Long enough for all replies to arrive before the second poll.
        time.sleep(0.1)
        return QuestionState(question_id=text, status="completed")

    api = Api(ask=ask, poll=poll)
    runner.run(
        steady(pending),
        api,
        runner.Options(wait=True, timeout_seconds=DEADLINE_SECONDS, max_polling=2),
    )
    assert wait in api.waits


def test_a_failed_poll_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "POLL_RETRY_SECONDS", 0.01)

    def poll(text: str, number: int) -> QuestionState:
        if number < 3:
            raise RequestFailed("503 Service Unavailable")
        return QuestionState(question_id=text, status="completed")

    api = Api(poll=poll)
    report = runner.run(steady(1), api, runner.Options(wait=True, timeout_seconds=DEADLINE_SECONDS))
    assert (report.tally.completed, report.tally.errors, api.polls["q0"]) == (1, 0, 3)


def test_a_poll_is_repeated_after_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "POLL_RETRY_SECONDS", 0.01)

    def poll(text: str, number: int) -> QuestionState:
        raise RequestFailed("503 Service Unavailable", retry_after_seconds=30)

    api = Api(poll=poll)
    report = runner.run(steady(1), api, runner.Options(wait=True, timeout_seconds=0.5))
    assert api.polls["q0"] == 1
    assert report.timed_out


def test_a_poll_that_returns_404_is_an_error() -> None:
    def poll(text: str, number: int) -> QuestionState:
        raise RequestFailed("404 Not Found", status=404)

    report = runner.run(steady(2), Api(poll=poll), runner.Options(wait=True, timeout_seconds=DEADLINE_SECONDS))
    assert report.tally.line() == "asked 2  cached 0  pending 0  completed 0  failed 0  errors 2"


def test_errors_are_counted_and_not_repeated() -> None:
    def ask(text: str) -> QuestionState:
        raise RequestFailed("503 Service Unavailable", retry_after_seconds=1)

    api = Api(ask=ask)
    report = runner.run(steady(3), api, runner.Options())
    assert sorted(api.asked) == ["q0", "q1", "q2"]
    assert report.tally.reasons == {"503 Service Unavailable": 3}
    assert report.tally.reply_seconds == []


def test_a_question_asked_again_while_pending_joins_the_first() -> None:
    def poll(text: str, number: int) -> QuestionState:
        return QuestionState(question_id=text, status="completed" if number == 2 else "pending")

    api = Api(poll=poll)
    report = runner.run(steady(3, different=1), api, runner.Options(wait=True, timeout_seconds=DEADLINE_SECONDS))
    assert (report.tally.completed, report.tally.pending, len(report.tally.answer_seconds)) == (3, 0, 3)
    assert api.polls == {"q0": 2}
    assert (report.tally.repeated, report.tally.joined, report.tally.distinct) == (2, 2, 1)


def test_hits_are_distinguished_from_questions_known_from_an_earlier_run() -> None:
    def ask(text: str) -> QuestionState:
        known = text == "q0" or api.asked.count(text) > 1
        return QuestionState(
            status="completed" if known else "pending", question_id=text, source="cache" if known else None
        )

    api = Api(ask=ask)
    report = runner.run(steady(6, 0.05, different=3), api, runner.Options())
    tally = report.tally
    assert (tally.cached, tally.known, tally.joined, tally.repeated, tally.distinct) == (4, 1, 0, 3, 3)
    assert tally.hit_rate == 4 / 6
    assert (len(tally.cached_seconds), len(tally.accepted_seconds)) == (4, 2)
    assert report.predicted.hit_rate == 3 / 6


def test_marked_questions_are_not_counted_as_repeated() -> None:
    api = Api()
    plan = replace(steady(4, different=2), mark="abc")
    report = runner.run(plan, api, runner.Options())
    assert (report.tally.repeated, report.predicted.hit_rate) == (0, 0.0)


def test_latency_since_due_includes_the_wait_for_a_free_slot() -> None:
    def ask(text: str) -> QuestionState:
        time.sleep(0.1)
        return QuestionState(status="completed", question_id=text, source="cache")

    tally = runner.run(steady(3), Api(ask=ask), runner.Options(max_asking=1)).tally
    # The last of three questions due at once waited for two others; the reply time does not include that wait.
    assert max(tally.since_due_seconds) >= 0.3
    assert min(tally.reply_seconds) < 0.3


def test_the_delay_of_detecting_an_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "POLL_INTERVAL_SECONDS", 0.3)

    def poll(text: str, number: int) -> QuestionState:
        return QuestionState(question_id=text, status="completed" if number == 2 else "pending")

    tally = runner.run(steady(1), Api(poll=poll), runner.Options(wait=True, timeout_seconds=DEADLINE_SECONDS)).tally
    # There was no poll between the end of the first one and the beginning of the second.
    assert 0.2 <= tally.unseen_seconds[0] <= tally.answer_seconds[0]


def test_a_long_poll_detects_an_answer_without_delay() -> None:
    def poll(text: str, number: int) -> QuestionState:
        if number == 1:
            time.sleep(runner.POLL_INTERVAL_SECONDS)
        return QuestionState(question_id=text, status="completed" if number == 2 else "pending")

    tally = runner.run(steady(1), Api(poll=poll), runner.Options(wait=True, timeout_seconds=DEADLINE_SECONDS)).tally
    # The second poll began as the first one ended.
    assert tally.unseen_seconds[0] < runner.POLL_INTERVAL_SECONDS <= tally.answer_seconds[0]


def test_threads_are_started_only_when_needed() -> None:
    before = set(threading.enumerate())  # a set, because a thread of an earlier test may end meanwhile
    most = 0

    def count(_tally: Tally) -> None:
        nonlocal most
        most = max(most, len(set(threading.enumerate()) - before))

    runner.run(steady(20, 0.05), Api(), runner.Options(max_asking=200), on_progress=count)
    # One thread is enough; a busy machine may need a few, but not one for each question.
    assert 1 <= most < 20


def test_a_stop_ends_the_run_and_keeps_the_counts() -> None:
    stop = threading.Event()

    def ask(text: str) -> QuestionState:
        if text == "q2":
            stop.set()
        return QuestionState(status="completed", question_id=text, source="cache")

    report = runner.run(steady(1000, 0.02), Api(ask=ask), runner.Options(), stop=stop)
    assert 3 <= report.tally.asked < 1000
    assert report.tally.cached == report.tally.asked
    assert report.interrupted
    assert not report.ok


def test_a_stop_does_not_wait_for_an_unresponsive_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.1)
    stop, release = threading.Event(), threading.Event()

    def ask(text: str) -> QuestionState:
        stop.set()
        release.wait(DEADLINE_SECONDS)
        return QuestionState(status="pending", question_id=text)

    report = runner.run(steady(1), Api(ask=ask), runner.Options(), stop=stop)
    assert not release.is_set()
    assert report.duration_seconds < DEADLINE_SECONDS
    assert report.tally.reasons == {"no reply before the stop": 1}
    release.set()


def test_a_stop_ends_the_wait_for_answers() -> None:
    stop = threading.Event()

    def poll(text: str, number: int) -> QuestionState:
        stop.set()
        return QuestionState(question_id=text, status="pending")

    report = runner.run(
        steady(1),
        Api(poll=poll),
        runner.Options(wait=True, timeout_seconds=DEADLINE_SECONDS),
        stop=stop,
    )
    assert (report.interrupted, report.timed_out, report.tally.pending) == (True, False, 1)


def test_an_unexpected_exception_in_a_call_is_raised_and_not_counted() -> None:
    def ask(text: str) -> QuestionState:
        raise KeyError("a bug")

    stop = threading.Event()
    watchdog = threading.Timer(DEADLINE_SECONDS, stop.set)
    watchdog.start()
    with pytest.raises(KeyError, match="a bug"):
        runner.run(steady(1), Api(ask=ask), runner.Options(), stop=stop)
    watchdog.cancel()


def test_all_threads_end_with_the_run() -> None:
    before = set(threading.enumerate())
    runner.run(steady(5), Api(), runner.Options(wait=True, timeout_seconds=DEADLINE_SECONDS))
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == set()
