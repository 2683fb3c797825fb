import pytest

from studies.fleet import scaling


def scaled(partitions, consumers, rate):
    return {"partitions": partitions, "llm-consumers": consumers, "completed/s": rate}


def test_twice_as_many_consumers_are_compared_where_the_partitions_are_the_same():
    runs = [scaled(3, 2, 30.0), scaled(3, 2, 32.0), scaled(3, 4, 46.5), scaled(12, 2, 31.0), scaled(12, 4, 60.0)]
    few, _, many, occupied = scaling.compare(runs, concurrency=16)
    assert (few.judged, few.met) == (pytest.approx(46.5 / 31), False)
    assert (many.judged, many.met) == (pytest.approx(60 / 31), True)
    assert (occupied.judged, occupied.met) == (pytest.approx(31 / 32), True)
    assert scaling.compare(runs[:2], concurrency=16) == ()
