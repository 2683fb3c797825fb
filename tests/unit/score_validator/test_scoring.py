import threading
import time

import pytest

from score_validator import scoring
from score_validator.scoring import Busy, CannotScore, Scoring
from tests.unit.score_validator.fakes import NO_TOKENS, FakeScorer

PAIR = ("blue sky", "blue sky")


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


def test_one_thread_calls_the_model(scorer):
    engine = Scoring(scorer, 100)
    callers = [threading.Thread(target=engine.score, args=([PAIR] * 3,)) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    assert len(scorer.calls) == 24
    assert len(scorer.threads) == 1
    assert threading.get_ident() not in scorer.threads


def test_a_single_pair_does_not_wait_for_a_whole_batch():
    class Stepwise(FakeScorer):
        def __init__(self):
            super().__init__()
            self.steps = threading.Semaphore(0)

        def score(self, candidate, reference):
            self.entered.release()
            assert self.steps.acquire(timeout=20)
            return super().score(candidate, reference)

    scorer = Stepwise()
    engine = Scoring(scorer, 100)
    batch = threading.Thread(target=engine.score, args=([("batch", "b")] * 10,))
    batch.start()
    assert scorer.entered.acquire(timeout=20)
    single = threading.Thread(target=engine.score, args=([("single", "s")],))
    single.start()
    wait_until(lambda: engine._thread._work_queue.qsize() == 1)
    for _ in range(11):
        scorer.steps.release()
    batch.join(20)
    single.join(20)
    assert ("single", "s") in scorer.calls[:3]


def test_a_batch_larger_than_the_queue_is_admitted_when_nothing_waits(scorer):
    assert len(Scoring(scorer, 1).score([PAIR] * 5)) == 5


def test_busy_tells_when_to_come_back(scorer):
    engine = Scoring(scorer, 1)
    engine._seconds = 0.5
    scorer.may_go.clear()
    caller = threading.Thread(target=engine.score, args=([PAIR] * 7,))
    caller.start()
    wait_until(lambda: engine._waiting == 7)
    with pytest.raises(Busy) as busy:
        engine.score([PAIR])
    assert busy.value.retry_after_seconds == 4
    scorer.may_go.set()
    caller.join(20)
    assert engine._waiting == 0


def test_a_pair_that_cannot_be_scored_is_told_and_leaves_nothing_behind(scorer):
    engine = Scoring(scorer, 4)
    with pytest.raises(CannotScore) as error:
        engine.score([PAIR, ("", "b"), ("a", NO_TOKENS), PAIR])
    assert error.value.index == 2
    assert error.value.cause.field == "reference"
    assert engine._waiting == 0


def test_check_finds_a_model_that_hangs(scorer, monkeypatch):
    monkeypatch.setattr(scoring, "STUCK_SECONDS", 0.0)
    engine = Scoring(scorer, 4)
    engine.check()
    scorer.may_go.clear()
    caller = threading.Thread(target=engine.score, args=([PAIR],))
    caller.start()
    assert scorer.entered.acquire(timeout=20)
    with pytest.raises(RuntimeError, match="in the model"):
        engine.check()
    scorer.may_go.set()
    caller.join(20)
    engine.check()
