"""The limiter by itself, and before providers of all kinds in a simulation."""

import pytest

from llm_consumer.hints import Limit
from llm_consumer.limiter import MINUTE, Book, Bounds, Limiter, newer
from tests.unit.llm_consumer.simulation import (
    FixedWindow,
    Simulation,
    SlidingWindow,
    TokenBucket,
    headers_of,
    words_of,
)

NOW = 1_000_000_000.0

PROVIDERS = {
    "sliding window": lambda rpm: (SlidingWindow(rpm), 0),
    "fixed window": lambda rpm: (FixedWindow(rpm), 0),
    "fixed window, begun late": lambda rpm: (FixedWindow(rpm), 40),
    "token bucket": lambda rpm: (TokenBucket(rpm), 0),
}


@pytest.fixture(params=PROVIDERS)
def make(request):
    return PROVIDERS[request.param]


def within(questions, rpm):
    """The time that the limit itself asks for, with what the goal allows beside it, in seconds."""
    return 1.15 * (questions / rpm - 1) * MINUTE + 20


# --- before providers of all kinds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [4, 16])
@pytest.mark.parametrize("rpm", [10, 20, 60])
def test_a_limit_without_any_hint_is_learnt(make, rpm, concurrency):
    provider, begin = make(rpm)
    run = Simulation(provider, 3 * rpm, Bounds(concurrency), begin=begin).run()
    assert run.answered == 3 * rpm
    assert run.seconds <= within(3 * rpm, rpm)
    assert run.refused <= 0.3 * run.answered


@pytest.mark.parametrize("concurrency", [4, 16])
@pytest.mark.parametrize("rpm", [3, 10, 20, 60])
def test_a_limit_in_the_headers_of_answers_is_kept_without_a_refusal(make, rpm, concurrency):
    provider, begin = make(rpm)
    run = Simulation(provider, 3 * rpm, Bounds(concurrency), headers=headers_of, begin=begin).run()
    assert run.answered == 3 * rpm
    assert run.seconds <= within(3 * rpm, rpm)
    assert run.refused <= 0.1 * run.answered


@pytest.mark.parametrize("rpm", [10, 20, 60])
def test_a_limit_in_the_words_of_a_refusal_is_kept_from_then_on(make, rpm):
    provider, begin = make(rpm)
    run = Simulation(provider, 3 * rpm, Bounds(4), words=words_of, retry_after=60 / rpm, begin=begin).run()
    assert run.answered == 3 * rpm
    assert run.seconds <= within(3 * rpm, rpm)
    assert run.refused <= 0.1 * run.answered


@pytest.mark.parametrize("rpm", [10, 20, 60])
def test_a_retry_after_that_promises_too_much_is_not_believed_twice(rpm):
    run = Simulation(SlidingWindow(rpm), 3 * rpm, Bounds(4), retry_after=60 / rpm + 1).run()
    assert run.answered == 3 * rpm
    assert run.seconds <= within(3 * rpm, rpm)
    assert run.refused <= 0.1 * run.answered + 1


def test_three_calls_a_minute_are_learnt_with_few_refusals():
    run = Simulation(SlidingWindow(3), 9, Bounds(4)).run()
    assert run.seconds <= within(9, 3)
    assert run.refused <= 2


def test_a_limit_that_is_set_is_never_exceeded(make):
    provider, begin = make(20)
    run = Simulation(provider, 60, Bounds(8, requests_per_minute=20), begin=begin).run()
    assert (run.answered, run.refused) == (60, 0)
    assert run.seconds <= within(60, 20)


@pytest.mark.parametrize("rpm", [20, 60])
def test_a_provider_that_keeps_a_pace_is_called_at_its_pace(rpm):
    run = Simulation(TokenBucket(rpm, size=1), 3 * rpm, Bounds(4)).run()
    assert run.answered == 3 * rpm
    assert run.seconds <= 1.3 * 3 * MINUTE
    assert run.refused <= 0.3 * run.answered


def test_a_provider_without_a_limit_gets_all_calls_that_are_allowed():
    simulation = Simulation(SlidingWindow(10_000), 400, Bounds(16))
    run = simulation.run()
    assert (run.peak, run.refused) == (16, 0)
    assert run.seconds <= 60


def test_what_is_known_lasts_when_the_book_is_lost_and_its_copy_returns():
    def lose(simulation):
        simulation.book = newer(Book(), simulation.book)

    run = Simulation(SlidingWindow(20), 60, Bounds(4)).run(at=30, meanwhile=lose)
    assert run.seconds <= within(60, 20)
    assert run.refused <= 0.3 * run.answered


# --- one call at a time ---------------------------------------------------------------------------------------------


@pytest.fixture
def limiter():
    return Limiter(Book(answered=100, answered_at=NOW - 100), Bounds(4))


def admit(limiter, now=NOW, call="1", tokens=100):
    return limiter.admit(call, "replica", tokens, now)


def refuse(limiter, cause="rate_limit", wait=None, limits=(), now=NOW, call="1"):
    assert admit(limiter, now, call) == 0
    limiter.refused(call, cause, wait, "no", limits, now)


def fail(limiter, question, now=NOW, since=None, hint=0.0):
    assert admit(limiter, now, question) == 0
    return limiter.failed(question, question, since, "busy", hint, now)


def answer(limiter, now=NOW, call="a", tokens=40, limits=()):
    assert admit(limiter, now, call) == 0
    limiter.answered(call, tokens, limits, now)


def test_no_more_calls_than_allowed_are_in_flight(limiter):
    assert [admit(limiter, call=str(number)) == 0 for number in range(6)] == [True] * 4 + [False] * 2
    limiter.answered("0", 40, (), NOW)
    assert admit(limiter, call="7") == 0


def test_a_call_of_a_worker_that_died_frees_its_slot(limiter):
    for number in range(4):
        assert limiter.admit(str(number), "dead", 100, NOW) == 0
    assert admit(limiter, NOW + 14, "5") > 0
    assert admit(limiter, NOW + 16, "5") == 0


def test_a_long_call_of_a_worker_that_lives_keeps_its_slot(limiter):
    for number in range(4):
        admit(limiter, call=str(number))
    for seconds in range(5, 60, 5):
        limiter.alive("replica", NOW + seconds)
    assert limiter.admit("5", "other", 100, NOW + 59) > 0
    assert limiter.admit("5", "other", 100, NOW + 61) == 0, "no call takes longer than its time-out"


def test_replicas_take_turns_at_one_slot():
    limiter = Limiter(Book(answered=100), Bounds(1))
    assert limiter.admit("1", "one", 10, NOW) == 0
    assert limiter.admit("2", "two", 10, NOW + 0.1) > 0
    limiter.answered("1", 10, (), NOW + 0.2)
    assert limiter.admit("3", "one", 10, NOW + 0.2) > 0, "the other one has waited longer"
    assert limiter.admit("2", "two", 10, NOW + 0.3) == 0
    limiter.answered("2", 10, (), NOW + 1)
    assert limiter.admit("3", "one", 10, NOW + 1) == 0


@pytest.mark.parametrize(("cause", "wait"), [("rate_limit", 7.0), ("quota", 578.0), ("quota", 86_400.0)])
def test_nobody_calls_before_the_time_that_the_provider_says(limiter, cause, wait):
    refuse(limiter, cause, wait)
    assert admit(limiter, NOW + wait - 1, "2") == pytest.approx(1)
    assert limiter.waiting_for(NOW + 1) == cause
    assert limiter.waiting_until(NOW + 1) == NOW + wait


def test_no_wait_is_longer_than_the_setting():
    limiter = Limiter(Book(answered=100), Bounds(4, longest_wait_seconds=600))
    refuse(limiter, "quota", 7200)
    assert admit(limiter, NOW + 599, "2") == pytest.approx(1)


def test_credit_is_asked_about_at_growing_intervals(limiter):
    now, waits = NOW, []
    for number in range(6):
        refuse(limiter, "credit", now=now, call=f"c{number}")
        waits.append(round(limiter.book.closed_until - now))
        now = limiter.book.closed_until
    assert waits == [60, 120, 300, 600, 600, 600]


def test_after_a_refusal_one_call_goes_first(limiter):
    refuse(limiter, "credit")
    later = NOW + 61
    assert admit(limiter, later, "probe") == 0
    assert admit(limiter, later, "2") > 0
    limiter.answered("probe", 40, (), later + 1)
    assert [admit(limiter, later + 1, str(number)) for number in (2, 3)] == [0, 0]
    assert limiter.waiting_for(later + 1) is None


def test_tokens_of_a_minute_are_counted_by_what_calls_take():
    limiter = Limiter(Book(answered=100), Bounds(4, tokens_per_minute=1000))
    for number in range(2):
        answer(limiter, call=f"a{number}", tokens=450)
    assert admit(limiter, NOW + 1, "b") == pytest.approx(60, abs=1)
    assert admit(limiter, NOW + 61.5, "c") == 0


def test_a_call_larger_than_the_limit_of_tokens_is_made_alone():
    limiter = Limiter(Book(answered=100), Bounds(4, tokens_per_minute=100))
    assert admit(limiter, tokens=500) == 0
    assert admit(limiter, call="2", tokens=500) > 0


@pytest.mark.parametrize(
    ("told", "wait"),
    [
        (Limit("requests", 60, 0, 12.0, None), 12.0),
        (Limit("tokens", 6000, 3, 7.7, None), 7.7),
        (Limit("requests", 60, 5, 12.0, None), 0.0),
        (Limit("requests", 1000, 0, 43_200.0, 86_400.0), 43_200.0),
    ],
)
def test_what_is_left_by_the_headers_is_kept_to(limiter, told, wait):
    answer(limiter, limits=[told])
    assert admit(limiter, NOW, "2") == pytest.approx(wait)


def test_a_limit_of_a_day_is_not_taken_for_one_of_a_minute(limiter):
    answer(limiter, limits=[Limit("requests", 2, 1, 43_200.0, None)])
    answer(limiter, NOW + 1, "b")
    answer(limiter, NOW + 2, "c")
    assert admit(limiter, NOW + 3, "d") == 0


def test_a_limit_that_was_told_long_ago_holds_no_longer(limiter):
    refuse(limiter, limits=[Limit("requests", 1, 0, None, 60.0)])
    answer(limiter, NOW + 100)
    assert admit(limiter, NOW + 101, "b") > 50
    answer(limiter, NOW + 800, "c")
    assert admit(limiter, NOW + 801, "d") == 0, "it may have been raised"


@pytest.mark.parametrize("turn", [1, -1])
def test_of_several_limits_of_tokens_the_widest_of_the_shortest_window_is_kept(limiter, turn):
    told = [
        Limit("tokens", 100, 90, 1.0, 60.0),
        Limit("tokens", 900, 800, 1.0, 60.0),
        Limit("tokens", 50, 9, 9.0, 86_400),
    ]
    answer(limiter, limits=told[::turn])
    assert limiter.per_minute("tokens") == (900, "provider")


def test_without_the_others_in_sight_a_replica_keeps_to_its_share():
    limiter = Limiter(Book(answered=100), Bounds(4, requests_per_minute=9), share=1 / 3)
    for number in range(3):
        answer(limiter, call=f"a{number}")
    assert admit(limiter, NOW + 1, "b") > 0


# --- outages --------------------------------------------------------------------------------------------------------


def test_a_failure_while_others_are_answered_may_be_the_fault_of_the_question(limiter):
    admit(limiter, NOW, "q")
    answer(limiter, NOW + 1, "other")
    assert limiter.failed("q", "question", None, "busy", 0, NOW + 2)


def test_a_first_failure_just_after_an_answer_may_be_its_fault_and_the_next_ones_are_not(limiter):
    answer(limiter)
    assert fail(limiter, "one", NOW + 1)
    assert not fail(limiter, "two", NOW + 2)
    assert not fail(limiter, "one", NOW + 3, since=NOW + 1)


def test_a_failure_with_an_answer_to_others_since_the_last_one_may_be_its_fault(limiter):
    assert not fail(limiter, "one", NOW)
    answer(limiter, NOW + 1)
    fail(limiter, "other", NOW + 1.5)
    assert fail(limiter, "one", NOW + 2, since=NOW)


def test_a_provider_that_answers_nobody_is_left_alone_but_for_probes(limiter):
    for question in ("one", "two", "three"):
        assert not fail(limiter, question)
    now, waits = NOW, []
    for number in range(9):
        waits.append(round(limiter.book.closed_until - now))
        now = limiter.book.closed_until
        assert admit(limiter, now, f"probe {number}") == 0
        assert admit(limiter, now, "another") > 0, "one probe at a time"
        limiter.failed(f"probe {number}", "four", None, "busy", 0, now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert limiter.waiting_for(now) == "unavailable"


def test_an_outage_ends_with_the_first_answer(limiter):
    for question in ("one", "two", "three"):
        fail(limiter, question)
    answer(limiter, NOW + 1)
    assert [admit(limiter, NOW + 1, str(number)) for number in range(4)] == [0] * 4
    assert limiter.waiting_for(NOW + 1) is None


def test_one_question_that_fails_alone_stops_nobody(limiter):
    for number in range(9):
        assert not fail(limiter, "poison", NOW + number, since=NOW + number - 1 if number else None)
    assert admit(limiter, NOW + 10) == 0


def test_an_unavailable_provider_that_says_when_is_left_alone_until_then(limiter):
    fail(limiter, "one", hint=30)
    assert admit(limiter, NOW + 29) == pytest.approx(1)


def test_reopening_lets_calls_pass_at_once(limiter):
    refuse(limiter, "quota", 86_400)
    limiter.reopen()
    assert admit(limiter, NOW + 1, "2") == 0


# --- copies ---------------------------------------------------------------------------------------------------------


def test_of_two_copies_the_newer_one_counts_with_the_calls_of_both():
    older, later = Book(version=1, log={"5": [3, 0, 30]}), Book(version=2, closed_until=9.0, log={"6": [1, 0, 10]})
    kept = newer(older, later)
    assert (kept.closed_until, kept.log) == (9.0, {"5": [3, 0, 30], "6": [1, 0, 10]})
