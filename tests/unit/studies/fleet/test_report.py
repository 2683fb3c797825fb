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


def test_without_goals_there_is_neither_their_table_nor_their_plot(tmp_path):
    results.keep(measurement(program="footprint"), tmp_path / "results")
    document = tmp_path / "benchmarks.md"
    report.main(["--results", str(tmp_path / "results"), "--output", str(document)])
    assert "## footprint" in document.read_text()
    assert "![" not in document.read_text()
    assert not (tmp_path / report.PLOT).exists()
