from studies.fleet import latency
from studies.fleet.latency import Way


def ways(*kept):
    return [Way(answered=each / 4, decided=each / 2, kept=each) for each in kept]


def test_a_round_is_told_by_percentiles_and_stages():
    run = latency.summary("fleet", 2, ways(*map(float, range(4, 404, 4))))
    assert (run["questions"], run["p50"], run["p90"], run["p99"], run["most"]) == (100, 200, 360, 396, 400)
    assert run["to the answer, p50"] + run["to the decision, p50"] + run["to the row, p50"] == run["p50"]


def test_goals_are_for_the_times_themselves():
    p50, p99 = latency.compare(ways(*[100.0] * 98, 600.0, 700.0))
    assert (p50.judged, p50.met) == (100, True)
    assert (p99.judged, p99.met) == (600, False)


def test_transactional_sinks_are_to_be_fifty_times_slower():
    figures = latency.compare(ways(*[100.0] * 100), ways(*[15_000.0] * 90))
    assert len(latency.compare(ways(1.0))) == 2
    assert figures[2].judged == 100 / 15_000
    assert figures[2].met
    assert not latency.compare(ways(100.0), ways(4000.0))[2].met
