"""The limiter on its own, and with simulated providers of all kinds."""

import pytest

from pipeline.providers.hints import Limit
from pipeline.providers.limiter import ADMITTED_SECONDS, MINUTE, Book, Bounds, Limiter, newer
from tests.unit.pipeline.providers.simulation import (
    FixedWindow,
    Simulation,
    SlidingWindow,
    TokenBucket,
    header_limits_of,
    message_limits_of,
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


def max_seconds(questions, rpm):
    """Returns the time that the limit itself requires plus the allowed overhead, in seconds."""
    return 1.15 * (questions / rpm - 1) * MINUTE + 20


# --- simulated providers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [4, 16])
@pytest.mark.parametrize("rpm", [10, 20, 60])
def test_a_limit_is_learnt_from_refusals_alone(make, rpm, concurrency):
    provider, begin = make(rpm)
    run = Simulation(provider, 3 * rpm, Bounds(concurrency), begin=begin).run()
    assert run.answered == 3 * rpm
    assert run.seconds <= max_seconds(3 * rpm, rpm)
    assert run.refused <= 0.3 * run.answered


@pytest.mark.parametrize("concurrency", [4, 16])
@pytest.mark.parametrize("rpm", [3, 10, 20, 60])
def test_a_limit_in_the_headers_is_kept_with_few_refusals(make, rpm, concurrency):
    provider, begin = make(rpm)
    run = Simulation(provider, 3 * rpm, Bounds(concurrency), headers=header_limits_of, begin=begin).run()
    assert run.answered == 3 * rpm
    assert run.seconds <= max_seconds(3 * rpm, rpm)
    assert run.refused <= 0.1 * run.answered


@pytest.mark.parametrize("rpm", [10, 20, 60])
def test_a_limit_in_the_message_of_a_refusal_is_kept_afterwards(make, rpm):
    provider, begin = make(rpm)
    run = Simulation(provider, 3 * rpm, Bounds(4), words=message_limits_of, retry_after=60 / rpm, begin=begin).run()
    assert run.answered == 3 * rpm
    assert run.seconds <= max_seconds(3 * rpm, rpm)
    assert run.refused <= 0.1 * run.answered


@pytest.mark.parametrize("rpm", [10, 20, 60])
def test_a_retry_after_that_is_too_short_costs_few_refusals(rpm):
    run = Simulation(SlidingWindow(rpm), 3 * rpm, Bounds(4), retry_after=60 / rpm + 1).run()
    assert run.answered == 3 * rpm
    assert run.seconds <= max_seconds(3 * rpm, rpm)
    assert run.refused <= 0.1 * run.answered + 1


def test_a_limit_of_three_calls_per_minute_is_learnt_with_few_refusals():
    run = Simulation(SlidingWindow(3), 9, Bounds(4)).run()
    assert run.seconds <= max_seconds(9, 3)
    assert run.refused <= 2


def test_a_configured_limit_is_never_exceeded(make):
    provider, begin = make(20)
    run = Simulation(provider, 60, Bounds(8, requests_per_minute=20), begin=begin).run()
    assert (run.answered, run.refused) == (60, 0)
    assert run.seconds <= max_seconds(60, 20)


@pytest.mark.parametrize("rpm", [20, 60])
def test_a_provider_without_bursts_is_called_at_its_rate(rpm):
    run = Simulation(TokenBucket(rpm, size=1), 3 * rpm, Bounds(4)).run()
    assert run.answered == 3 * rpm
    assert run.seconds <= 1.3 * 3 * MINUTE
    assert run.refused <= 0.3 * run.answered


def test_a_provider_without_a_limit_is_called_with_full_concurrency():
    simulation = Simulation(SlidingWindow(10_000), 400, Bounds(16))
    run = simulation.run()
    assert (run.peak, run.refused) == (16, 0)
    assert run.seconds <= 60


def test_the_learnt_limit_survives_the_loss_of_the_shared_state():
    def lose(simulation):
        simulation.book = newer(Book(), simulation.book)

    run = Simulation(SlidingWindow(20), 60, Bounds(4)).run(at=30, meanwhile=lose)
    assert run.seconds <= max_seconds(60, 20)
    assert run.refused <= 0.3 * run.answered


# --- single calls ---------------------------------------------------------------------------------------------------


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


def test_calls_in_flight_are_limited_by_the_concurrency(limiter):
    assert [admit(limiter, call=str(number)) == 0 for number in range(6)] == [True] * 4 + [False] * 2
    limiter.answered("0", 40, (), NOW)
    assert admit(limiter, call="7") == 0


def test_the_slot_of_a_dead_worker_becomes_free(limiter):
    for number in range(4):
        assert limiter.admit(str(number), "dead", 100, NOW) == 0
    assert admit(limiter, NOW + 14, "5") > 0
    assert admit(limiter, NOW + 16, "5") == 0


def test_a_long_call_of_a_live_worker_keeps_its_slot(limiter):
    for number in range(4):
        admit(limiter, call=str(number))
    for seconds in range(5, 60, 5):
        limiter.alive("replica", NOW + seconds)
    assert limiter.admit("5", "other", 100, NOW + 59) > 0
    assert limiter.admit("5", "other", 100, NOW + 61) == 0, "a call over its time-out still holds its slot"


def test_replicas_take_turns_at_one_slot():
    limiter = Limiter(Book(answered=100), Bounds(1))
    assert limiter.admit("1", "one", 10, NOW) == 0
    assert limiter.admit("2", "two", 10, NOW + 0.1) > 0
    limiter.answered("1", 10, (), NOW + 0.2)
    assert limiter.admit("3", "one", 10, NOW + 0.2) > 0, "the other replica has waited longer"
    assert limiter.admit("2", "two", 10, NOW + 0.3) == 0
    limiter.answered("2", 10, (), NOW + 1)
    assert limiter.admit("3", "one", 10, NOW + 1) == 0


@pytest.mark.parametrize(("cause", "wait"), [("rate_limit", 7.0), ("quota", 578.0), ("quota", 86_400.0)])
def test_no_call_is_admitted_before_the_wait_of_the_provider_is_over(limiter, cause, wait):
    refuse(limiter, cause, wait)
    assert admit(limiter, NOW + wait - 1, "2") == pytest.approx(1)
    assert limiter.waiting_for(NOW + 1) == cause
    assert limiter.waiting_until(NOW + 1) == NOW + wait


def test_a_wait_is_limited_by_the_setting():
    limiter = Limiter(Book(answered=100), Bounds(4, longest_wait_seconds=600))
    refuse(limiter, "quota", 7200)
    assert admit(limiter, NOW + 599, "2") == pytest.approx(1)


def test_probes_after_a_credit_error_have_growing_intervals(limiter):
    now, waits = NOW, []
    for number in range(6):
        refuse(limiter, "credit", now=now, call=f"c{number}")
        waits.append(round(limiter.book.closed_until - now))
        now = limiter.book.closed_until
    assert waits == [60, 120, 300, 600, 600, 600]


def test_after_a_refusal_a_single_probe_is_admitted_first(limiter):
    refuse(limiter, "credit")
    later = NOW + 61
    assert admit(limiter, later, "probe") == 0
    assert admit(limiter, later, "2") > 0
    limiter.answered("probe", 40, (), later + 1)
    assert [admit(limiter, later + 1, str(number)) for number in (2, 3)] == [0, 0]
    assert limiter.waiting_for(later + 1) is None


@pytest.mark.parametrize("cause", ["quota", "credit"])
def test_a_probe_that_is_not_refused_soon_admits_calls_before_it_is_answered(limiter, cause):
    refuse(limiter, cause, wait=1)
    sent = NOW + 2
    assert admit(limiter, sent, "probe") == 0
    assert admit(limiter, sent + ADMITTED_SECONDS - 0.1, "2") > 0
    assert [admit(limiter, sent + ADMITTED_SECONDS, str(number)) for number in (2, 3)] == [0, 0]
    assert limiter.waiting_for(sent + ADMITTED_SECONDS) is None


def test_a_probe_of_an_outage_has_to_be_answered(limiter):
    for question in ("one", "two", "three"):
        fail(limiter, question)
    assert admit(limiter, NOW + 1, "probe") == 0
    assert admit(limiter, NOW + 2 + ADMITTED_SECONDS, "2") > 0


def test_long_calls_from_before_a_refusal_do_not_delay_the_probe(limiter):
    assert [admit(limiter, NOW - 1, f"long {number}") for number in range(3)] == [0] * 3
    refuse(limiter, "quota", wait=1)
    assert admit(limiter, NOW + 2, "probe") == 0
    assert admit(limiter, NOW + 2, "another") > 0, "one probe at a time"


def test_a_probe_waits_while_all_slots_are_taken(limiter):
    assert [admit(limiter, NOW - 1, f"long {number}") for number in range(3)] == [0] * 3
    refuse(limiter, "quota", wait=1)
    limiter.book.calls["fourth"] = limiter.book.calls["long 0"]
    assert admit(limiter, NOW + 2, "probe") > 0


def test_quota_errors_leave_most_of_the_slots_in_use_when_answers_are_slow():
    """Each tenth call is refused with a wait of 1 s, and an answer takes 12 s."""
    limiter, now, number, answered, ends = Limiter(Book(answered=100), Bounds(16)), NOW, 0, 0, []
    while now < NOW + 600:
        for call, at in [each for each in ends if each[1] <= now]:
            ends.remove((call, at))
            limiter.answered(call, 100, (), now)
            answered += 1
        call = f"c{number}"
        if len(ends) < 16 and not limiter.admit(call, "replica", 100, now):
            number += 1
            if number % 10:
                ends.append((call, now + 12))
            else:
                limiter.refused(call, "quota", 1, "no", (), now)
        now += 0.05
    assert answered > 0.5 * 600 * 16 / 12


def test_the_token_limit_counts_the_tokens_that_calls_used():
    limiter = Limiter(Book(answered=100), Bounds(4, tokens_per_minute=1000))
    for number in range(2):
        answer(limiter, call=f"a{number}", tokens=450)
    assert admit(limiter, NOW + 1, "b") == pytest.approx(60, abs=1)
    assert admit(limiter, NOW + 61.5, "c") == 0


def test_a_call_larger_than_the_token_limit_is_admitted_alone():
    limiter = Limiter(Book(answered=100), Bounds(4, tokens_per_minute=100))
    assert admit(limiter, tokens=500) == 0
    assert admit(limiter, call="2", tokens=500) > 0


@pytest.mark.parametrize(
    ("reported", "wait"),
    [
        (Limit("requests", 60, 0, 12.0, None), 12.0),
        (Limit("tokens", 6000, 3, 7.7, None), 7.7),
        (Limit("requests", 60, 5, 12.0, None), 0.0),
        (Limit("requests", 1000, 0, 43_200.0, 86_400.0), 43_200.0),
    ],
)
def test_calls_wait_for_the_reset_when_the_headers_show_nothing_left(limiter, reported, wait):
    answer(limiter, limits=[reported])
    assert admit(limiter, NOW, "2") == pytest.approx(wait)


def test_a_limit_with_a_long_reset_is_not_applied_per_minute(limiter):
    answer(limiter, limits=[Limit("requests", 2, 1, 43_200.0, None)])
    answer(limiter, NOW + 1, "b")
    answer(limiter, NOW + 2, "c")
    assert admit(limiter, NOW + 3, "d") == 0


def test_a_limit_reported_long_ago_expires(limiter):
    refuse(limiter, limits=[Limit("requests", 1, 0, None, 60.0)])
    answer(limiter, NOW + 100)
    assert admit(limiter, NOW + 101, "b") > 50
    answer(limiter, NOW + 800, "c")
    assert admit(limiter, NOW + 801, "d") == 0, "it may have been raised"


@pytest.mark.parametrize("turn", [1, -1])
def test_the_highest_token_limit_of_the_shortest_window_is_used(limiter, turn):
    reported = [
        Limit("tokens", 100, 90, 1.0, 60.0),
        Limit("tokens", 900, 800, 1.0, 60.0),
        Limit("tokens", 50, 9, 9.0, 86_400),
    ]
    answer(limiter, limits=reported[::turn])
    assert limiter.per_minute("tokens") == (900, "provider")


def test_a_replica_without_shared_state_keeps_to_its_share_of_the_limit():
    limiter = Limiter(Book(answered=100), Bounds(4, requests_per_minute=9), share=1 / 3)
    for number in range(3):
        answer(limiter, call=f"a{number}")
    assert admit(limiter, NOW + 1, "b") > 0


# --- outages --------------------------------------------------------------------------------------------------------


def test_a_failure_while_others_are_answered_counts_against_the_question(limiter):
    admit(limiter, NOW, "q")
    answer(limiter, NOW + 1, "other")
    assert limiter.failed("q", "question", None, "busy", 0, NOW + 2)


def test_only_the_first_of_several_failures_after_an_answer_counts(limiter):
    answer(limiter)
    assert fail(limiter, "one", NOW + 1)
    assert not fail(limiter, "two", NOW + 2)
    assert not fail(limiter, "one", NOW + 3, since=NOW + 1)


def test_a_failure_counts_if_others_were_answered_since_the_previous_one(limiter):
    assert not fail(limiter, "one", NOW)
    answer(limiter, NOW + 1)
    fail(limiter, "other", NOW + 1.5)
    assert fail(limiter, "one", NOW + 2, since=NOW)


def test_during_an_outage_only_single_probes_are_admitted(limiter):
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


def test_one_question_that_always_fails_does_not_stop_others(limiter):
    for number in range(9):
        assert not fail(limiter, "poison", NOW + number, since=NOW + number - 1 if number else None)
    assert admit(limiter, NOW + 10) == 0


def test_an_outage_lasts_as_long_as_the_provider_says(limiter):
    fail(limiter, "one", hint=30)
    assert admit(limiter, NOW + 29) == pytest.approx(1)


def test_reopening_admits_calls_at_once(limiter):
    refuse(limiter, "quota", 86_400)
    limiter.reopen()
    assert admit(limiter, NOW + 1, "2") == 0


# --- merging --------------------------------------------------------------------------------------------------------


def test_merging_two_states_keeps_the_newer_one_and_the_calls_of_both():
    older, later = Book(version=1, log={"5": [3, 0, 30]}), Book(version=2, closed_until=9.0, log={"6": [1, 0, 10]})
    kept = newer(older, later)
    assert (kept.closed_until, kept.log) == (9.0, {"5": [3, 0, 30], "6": [1, 0, 10]})
