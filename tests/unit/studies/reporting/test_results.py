import pytest

from studies.reporting import results
from tests.unit.studies.reporting.samples import comparison, measurement


class TestComparison:
    def test_a_ratio_is_judged_where_there_is_something_to_compare_with(self):
        assert comparison().judged == 3
        assert comparison().met
        assert not comparison(fleet=249.0).met
        assert comparison(fleet=125.0).share == pytest.approx(0.5)

    def test_a_value_is_judged_where_there_is_not(self):
        at_most = comparison(fleet=130.0, against=None, goal=65, sense="at most")
        assert (at_most.judged, at_most.met, at_most.share) == (130, False, 0.5)
        assert comparison(fleet=65.0, against=None, goal=65, sense="at most").met

    def test_the_line_tells_value_baseline_ratio_and_goal(self):
        assert comparison().line() == "f: 300 1/s / 100 of b = 3.00 x (goal: at least 2.5: met)"
        assert comparison(fleet=125.0).line().endswith("(goal: at least 2.5: missed, 50% of it)")
        assert comparison(against=None, goal=400).line() == "f: 300 1/s (goal: at least 400: missed, 75% of it)"

    def test_a_baseline_that_did_nothing_is_no_error(self):
        assert comparison(against=0.0).met


def test_the_median_of_a_column():
    assert results.median([{"x": 1}, {"x": 30.0}, {"x": 2}], "x") == 2


def test_the_rounds_of_a_setting_become_their_median():
    runs = [
        {"side": "a", "round": 1, "size": 8, "tokens": 10, "seconds": 1.0},
        {"side": "b", "round": 1, "size": 8, "tokens": 20, "seconds": 3.0, "idle": 2.0},
        {"side": "b", "round": 2, "size": 8, "tokens": 30, "seconds": 5.0, "idle": 4.0},
        {"side": "a", "round": 2, "size": 8, "tokens": 14, "seconds": 2.0},
    ]
    assert results.medians(runs) == [
        {"side": "a", "size": 8, "tokens": 12, "seconds": 1.5},
        {"side": "b", "size": 8, "tokens": 25, "seconds": 4.0, "idle": 3.0},
    ]


def test_runs_without_rounds_stay_as_they_are():
    runs = [{"what": "a", "per question": 1.5}, {"what": "b", "per question": 0.5}]
    assert results.medians(runs) == runs
    assert results.medians([{"side": "a", "round": 1, "x": 2.0}]) == [{"side": "a", "x": 2.0}]


def test_what_is_kept_is_read_again(tmp_path, capsys):
    first, second = measurement(comparison()), measurement(comparison(goal=9), program="api")
    for each in (first, second):
        results.keep(each, tmp_path / "results")
    assert results.read(tmp_path / "results") == [second, first]
    assert "missed, 33% of it" in capsys.readouterr().out
