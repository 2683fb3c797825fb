import pytest

from benchmarks import growth


def run(stored, rate, cost):
    return {"stored": stored, "completed/s": rate, "CPU ms/question": cost}


def scaled(partitions, consumers, rate):
    return {"partitions": partitions, "llm-consumers": consumers, "completed/s": rate}


def test_twice_as_many_consumers_are_compared_where_the_partitions_are_the_same():
    runs = [scaled(3, 2, 30.0), scaled(3, 2, 32.0), scaled(3, 4, 46.5), scaled(12, 2, 31.0), scaled(12, 4, 60.0)]
    few, _, many, occupied = growth.compare_scaling(runs, concurrency=16)
    assert (few.judged, few.met) == (pytest.approx(46.5 / 31), False)
    assert (many.judged, many.met) == (pytest.approx(60 / 31), True)
    assert (occupied.judged, occupied.met) == (pytest.approx(31 / 32), True)
    assert growth.compare_scaling(runs[:2], concurrency=16) == ()


def test_the_most_stored_are_compared_with_the_fewest():
    runs = [run(1000, 300.0, 6.0), run(1000, 310.0, 7.0), run(50_000, 290.0, 7.8), run(10_000, 1.0, 99.0)]
    cost, rate = growth.compare(runs)
    assert cost.judged == pytest.approx(7.8 / 6.5)
    assert not cost.met
    assert rate.judged == pytest.approx(290 / 305)
    assert rate.met
