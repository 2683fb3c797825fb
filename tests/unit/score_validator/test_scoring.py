import threading
import time

import pytest

from score_validator import scoring
from score_validator.scorer import InvalidPair
from score_validator.scoring import Busy, Expired, Scoring
from tests.unit.score_validator.fakes import BREAKS, NO_TOKENS

PAIR = ("blue sky", "blue sky")


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


def start(call, *arguments):
    thread = threading.Thread(target=call, args=arguments, daemon=True)
    thread.start()
    return thread


def hold(scorer, engine):
    """Keeps the engine busy with a batch of one pair until the fake is released."""
    scorer.released.clear()
    caller = start(engine.score, [("first", "f")])
    assert scorer.entered.acquire(timeout=20)
    return caller


def test_one_thread_calls_the_model(scorer):
    engine = Scoring(scorer, 100)
    callers = [start(engine.score, [PAIR] * 3) for _ in range(8)]
    for caller in callers:
        caller.join(20)
    assert sum(map(len, scorer.calls)) == 24
    assert len(scorer.threads) == 1
    assert threading.get_ident() not in scorer.threads


def frozen_clock():
    """Stopped clock, so that batches take no time on a slow machine."""
    return 0.0


def test_waiting_pairs_are_scored_together(scorer):
    engine = Scoring(scorer, 100, max_batch=4, clock=frozen_clock)
    callers = [hold(scorer, engine)]
    callers += [start(engine.score, [(f"answer {number}", "r")]) for number in range(6)]
    wait_until(lambda: engine._waiting == 7)
    scorer.released.set()
    for caller in callers:
        caller.join(20)
    assert [len(batch) for batch in scorer.calls] == [1, 4, 2]


def test_a_batch_waits_for_more_pairs_unless_there_is_a_single_caller(scorer):
    engine = Scoring(scorer, 100, max_batch=4, window_seconds=60, clock=frozen_clock)
    engine.score([PAIR])  # would take a minute if it waited
    caller = start(engine.score, [PAIR] * 2)
    wait_until(lambda: engine._queued == 2)
    late = start(engine.score, [PAIR] * 2)
    caller.join(20)
    late.join(20)
    assert [len(batch) for batch in scorer.calls] == [1, 4]


def test_a_single_pair_does_not_wait_for_a_whole_request(scorer):
    engine = Scoring(scorer, 100, max_batch=2, clock=frozen_clock)
    first = hold(scorer, engine)
    many = start(engine.score, [("many", "m")] * 10)
    wait_until(lambda: engine._queued == 10)
    single = start(engine.score, [("single", "s")])
    wait_until(lambda: engine._queued == 11)
    scorer.released.set()
    for caller in (first, many, single):
        caller.join(20)
    assert ("single", "s") in scorer.calls[1]


def test_a_request_larger_than_the_queue_is_admitted_when_nothing_waits(scorer):
    assert len(Scoring(scorer, 1).score([PAIR] * 5)) == 5


def test_busy_has_a_retry_after(scorer):
    engine = Scoring(scorer, 1, max_batch=1)
    engine._seconds = 0.5
    scorer.released.clear()
    caller = start(engine.score, [PAIR] * 7)
    wait_until(lambda: engine._waiting == 7)
    with pytest.raises(Busy) as busy:
        engine.score([PAIR])
    assert busy.value.retry_after_seconds == 4
    scorer.released.set()
    caller.join(20)
    assert engine._waiting == 0


def test_a_pair_that_cannot_be_scored_is_returned_with_its_field_and_the_queue_is_emptied(scorer):
    engine = Scoring(scorer, 4)
    results = engine.score([PAIR, ("", "b"), ("a", NO_TOKENS), PAIR])
    assert [isinstance(each, InvalidPair) for each in results] == [False, False, True, False]
    assert results[2].field == "reference"
    wait_until(lambda: engine._waiting == 0)


def test_a_pair_that_crashes_the_model_fails_alone(scorer):
    engine = Scoring(scorer, 100, clock=frozen_clock)
    first = hold(scorer, engine)
    failures = []

    def broken():
        with pytest.raises(RuntimeError, match="out of memory"):
            engine.score([(BREAKS, "b")])
        failures.append(1)

    others = [start(broken), *(start(engine.score, [PAIR]) for _ in range(3))]
    wait_until(lambda: engine._queued == 4)
    scores = []
    others.append(start(lambda: scores.extend(engine.score([PAIR, PAIR]))))
    wait_until(lambda: engine._queued == 6)
    scorer.released.set()
    for caller in (first, *others):
        caller.join(20)
    assert len(failures) == 1
    assert [score.f1 for score in scores] == [1, 1]
    assert engine.score([PAIR])[0].f1 == 1


def test_check_detects_a_model_that_hangs(scorer, monkeypatch):
    monkeypatch.setattr(scoring, "STUCK_SECONDS", 0.0)
    engine = Scoring(scorer, 4)
    engine.check()
    caller = hold(scorer, engine)
    with pytest.raises(RuntimeError, match="in the model"):
        engine.check()
    scorer.released.set()
    caller.join(20)
    engine.check()


def test_a_pair_that_times_out_in_the_queue_is_not_computed(scorer):
    engine = Scoring(scorer, 2)
    first = hold(scorer, engine)
    with pytest.raises(Expired, match=r"0\.01 s: the queue is too long") as expired:
        engine.score([("abandoned", "a")], wait_seconds=0.01)
    assert not expired.value.begun
    # Its place in the queue is free while the first pair is still computed.
    last = start(engine.score, [("last", "l")])
    wait_until(lambda: engine._queued == 1)
    scorer.released.set()
    for caller in (first, last):
        caller.join(20)
    assert scorer.calls == [[("first", "f")], [("last", "l")]]
    assert engine._waiting == 0


def test_a_timeout_in_the_model_differs_from_a_timeout_in_the_queue(scorer):
    engine = Scoring(scorer, 2)
    scorer.released.clear()
    with pytest.raises(Expired, match="the model takes longer") as expired:
        engine.score([PAIR], wait_seconds=1)
    assert expired.value.begun
    scorer.released.set()
    wait_until(lambda: engine._waiting == 0)
    assert engine.score([PAIR], wait_seconds=20)


def test_an_expired_request_computes_only_the_pairs_already_begun(scorer):
    engine = Scoring(scorer, 100, max_batch=2, clock=frozen_clock)
    engine.score([PAIR])
    assert scorer.entered.acquire(timeout=20)
    scorer.released.clear()
    with pytest.raises(Expired):
        engine.score([(f"answer {number}", "a") for number in range(5)], wait_seconds=0.5)
    scorer.released.set()
    wait_until(lambda: engine._waiting == 0)
    assert engine.score([("last", "l")], wait_seconds=20)
    assert sum(map(len, scorer.calls)) <= 1 + 2 + 1


def test_a_batch_is_limited_to_the_pairs_computed_in_time(scorer):
    """A pair takes 2 s and a batch may take 5 s: a batch of two pairs is within the limit, one of three is not."""
    now = 0.0
    compute = scorer.score

    def slowly(pairs):
        nonlocal now
        results = compute(pairs)
        now += 2 * len(pairs)
        return results

    scorer.score = slowly
    engine = Scoring(scorer, 100, max_batch=32, clock=lambda: now)
    engine.score([PAIR] * 7)
    assert [len(batch) for batch in scorer.calls] == [1, 2, 2, 2]


def test_an_encoder_that_was_slow_once_gets_full_batches_again(scorer):
    now = 0.0
    compute = scorer.score

    def slow_at_first(pairs):
        nonlocal now
        results = compute(pairs)
        now += (10 if len(scorer.calls) == 1 else 0.01) * len(pairs)
        return results

    scorer.score = slow_at_first
    engine = Scoring(scorer, 10_000, max_batch=32, clock=lambda: now)
    engine.score([PAIR] * 2000)
    sizes = [len(batch) for batch in scorer.calls]
    assert sizes[:3] == [1, 1, 1]
    assert max(sizes) == 32
