import pytest

from studies.fleet import throughput


def runs(**by_side):
    return [{"side": side, "completed/s": value} for side, values in by_side.items() for value in values]


def test_the_fleet_is_compared_with_the_best_baseline_by_medians():
    found = throughput.compare("q/s", runs(fleet=[300.0, 100.0, 290.0], slow=[100.0], best=[140.0, 150.0, 1000.0]), 2.5)
    assert (found.fleet, found.against, found.baseline) == (290, 150, "best")


@pytest.mark.parametrize("measured", [{}, {"fleet": [1.0]}, {"celery": [1.0]}])
def test_nothing_is_compared_with_nothing(measured):
    with pytest.raises(ValueError, match="both"):
        throughput.compare("q/s", runs(**measured), 2.5)


def test_sides_take_turns_and_every_second_round_is_reversed():
    sides = throughput.sides(["kinds", "alike"], 128, [64])
    assert [(side.name, side.layout, side.concurrency) for side in sides] == [
        ("fleet", None, 128),
        ("celery, kinds, 64 threads", "kinds", 64),
        ("celery, alike, 64 threads", "alike", 64),
    ]
    order = [(number, side.name) for number, side in throughput.schedule(sides[:2], 3)]
    fleet, celery = sides[0].name, sides[1].name
    assert order == [(1, fleet), (1, celery), (2, celery), (2, fleet), (3, fleet), (3, celery)]
