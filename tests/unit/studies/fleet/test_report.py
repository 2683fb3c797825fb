from studies.fleet import report
from studies.reporting import results
from tests.unit.studies.reporting.samples import comparison, measurement


def test_the_document_tells_goals_method_machine_and_raw_numbers():
    missed = comparison(figure="late", unit="s", fleet=70.0, against=None, goal=65, sense="at most")
    text = report.document([measurement(comparison()), measurement(missed, program="retries")])
    assert "| f | 300 1/s | 100 1/s (b) | 3.00 | at least 2.5 | yes |" in text
    assert "| late | 70 s | - | - | at most 65 s | no, 93% of it |" in text
    assert "## retries" in text
    assert "Measured 2026-01-02 03:04 UTC on: Test CPU, 2 cores, 8.0 GiB, load 0.50 before the start." in text
    assert "| fleet | 301 |" in text


def test_missed_goals_and_the_closest_met_one_are_in_the_table():
    missed, met, closest = (comparison(figure=name, fleet=value) for name, value in (("a", 9), ("b", 900), ("c", 300)))
    assert report.critical([missed, met, closest]) == [missed, closest]
    text = report.document([measurement(missed, met, closest)])
    assert "2 of 3 goals are met" in text
    assert "| b |" not in text


def test_a_method_is_told_once_and_a_program_with_a_page_refers_to_it():
    settings = [measurement(program=name) for name in ("flink_alone", "flink_alone_2")]
    text = report.document([*settings, measurement(program="sync_vs_async")])
    assert text.count("\nm\n") == 1
    assert "See [sync-vs-async.md](sync-vs-async.md)." in text


def test_small_parts_of_the_footprint_are_left_out():
    runs = [
        {"what": name, "unit": "", "per question": value}
        for name, value in (("CPU of a", 2.0), ("CPU of b", 0.09), ("disk of c", 0.09), ("disk of d", 0.0))
    ]
    rows = report.shown(measurement(program="footprint", runs=runs))
    assert [row["what"] for row in rows] == ["CPU of a", "disk of c"]


def test_without_goals_there_is_neither_their_table_nor_their_plot(tmp_path):
    results.keep(measurement(program="footprint"), tmp_path / "results")
    document = tmp_path / "benchmarks.md"
    report.main(["--results", str(tmp_path / "results"), "--output", str(document)])
    assert "## footprint" in document.read_text()
    assert "![" not in document.read_text()
    assert not (tmp_path / report.PLOT).exists()
