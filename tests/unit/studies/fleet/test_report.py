import sys
from datetime import UTC, datetime

import pytest

from studies.fleet import report
from studies.fleet.report import Comparison, Machine, Measurement, percentile


def comparison(**changes):
    values = {"figure": "f", "unit": "1/s", "fleet": 300.0, "against": 100.0, "baseline": "b", "goal": 2.5}
    return Comparison(**values | changes)


def measurement(*comparisons, program="throughput", runs=({"side": "fleet", "completed/s": 301.25},)):
    machine = Machine(processor="Test CPU", cores=2, memory_bytes=8 * 2**30, load=0.5)
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    return Measurement(
        program=program, question="q?", method="m", at=at, machine=machine, comparisons=comparisons, runs=runs
    )


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


class TestPercentile:
    def test_nearest_rank(self):
        values = [float(number) for number in range(100, 0, -1)]
        assert [percentile(values, share) for share in (0.01, 0.5, 0.99, 1)] == [1, 50, 99, 100]
        assert percentile([7.0], 0.99) == 7

    @pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 0), ([1.0], 1.1)])
    def test_there_is_none_of_nothing(self, values, share):
        with pytest.raises(ValueError, match="no percentile"):
            percentile(values, share)


def test_a_table_has_every_column_once_and_gaps_where_a_run_lacks_it():
    assert report.table([{"side": "fleet", "n": 5000}, {"side": "celery", "idle": 1.234567}]) == [
        "| side | n | idle |",
        "| --- | --- | --- |",
        "| fleet | 5000 |  |",
        "| celery |  | 1.23 |",
    ]


def test_the_median_of_a_column():
    assert report.median([{"x": 1}, {"x": 30.0}, {"x": 2}], "x") == 2


def test_the_document_tells_goals_method_machine_and_raw_numbers():
    missed = comparison(figure="late", unit="s", fleet=70.0, against=None, goal=65, sense="at most")
    text = report.markdown([measurement(comparison()), measurement(missed, program="retries")])
    assert "| f | 300 1/s | 100 1/s (b) | 3.00 | at least 2.5 | yes |" in text
    assert "| late | 70 s | - | - | at most 65 s | no, 93% of it |" in text
    assert "## retries" in text
    assert "Measured 2026-01-02 03:04 UTC on: Test CPU, 2 cores, 8.0 GiB, load 0.50 before the start." in text
    assert "| fleet | 301 |" in text


def test_without_goals_there_is_neither_their_table_nor_their_plot(tmp_path, monkeypatch):
    report.keep(measurement(program="footprint"), tmp_path / "results")
    document = tmp_path / "benchmarks.md"
    monkeypatch.setattr(sys, "argv", ["report", "--results", str(tmp_path / "results"), "--output", str(document)])
    report.main()
    assert "## footprint" in document.read_text()
    assert "![" not in document.read_text()
    assert not (tmp_path / report.PLOT).exists()


def test_what_is_kept_is_read_again(tmp_path, capsys):
    first, second = measurement(comparison()), measurement(comparison(goal=9), program="api")
    for each in (first, second):
        report.keep(each, tmp_path / "results")
    assert report.read(tmp_path / "results") == [second, first]
    assert "missed, 33% of it" in capsys.readouterr().out


def test_the_machine_is_described():
    machine = report.machine()
    assert machine.cores >= 1
    assert machine.memory_bytes > 2**28
    assert machine.processor
