import pytest

from studies.fleet import growth


def run(stored, rate, cost):
    return {"stored": stored, "completed/s": rate, "CPU ms/question": cost}


def test_the_most_stored_are_compared_with_the_fewest():
    runs = [run(1000, 300.0, 6.0), run(1000, 310.0, 7.0), run(50_000, 290.0, 7.8), run(10_000, 1.0, 99.0)]
    cost, rate = growth.compare(runs)
    assert cost.judged == pytest.approx(7.8 / 6.5)
    assert not cost.met
    assert rate.judged == pytest.approx(290 / 305)
    assert rate.met
