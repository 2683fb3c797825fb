import pytest

from studies.fleet import api


def run(case, rate, p99):
    return {"case": case, "round": 1, "requests": 10, "requests/s": rate, "p50 ms": 1.0, "p99 ms": p99}


def test_each_is_compared_with_its_own_baseline():
    runs = [
        *(run(api.CACHED, rate, 30.0) for rate in (400.0, 500.0, 100.0)),
        run(api.EMPTY, 1000.0, 10.0),
        run(api.ACCEPTED, 150.0, 90.0),
        run(api.BARE, 300.0, 20.0),
    ]
    cached, accepted, p99 = api.compare(runs)
    assert (cached.judged, cached.baseline, cached.met) == (0.4, api.EMPTY, False)
    assert (accepted.judged, accepted.baseline, accepted.met) == (0.5, api.BARE, True)
    assert (p99.judged, p99.met) == (3, False)


def test_times_are_told_in_milliseconds():
    summary = api.summary(api.CACHED, 1, 123.0, [0.001] * 98 + [0.2] * 2)
    assert (summary["requests"], summary["requests/s"]) == (100, 123)
    assert summary["p50 ms"] == pytest.approx(1)
    assert summary["p99 ms"] == pytest.approx(200)
