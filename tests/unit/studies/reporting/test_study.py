"""The frame of the studies of the fleet."""

import pytest
from jinja2 import UndefinedError

from studies.fleet import flink_alone, growth, throughput
from studies.reporting import templates
from studies.reporting.results import Comparison, read
from studies.reporting.study import Findings, option, study


@study(
    "How many of {count}?",
    "Counted, {count} times.",
    option("--count", type=int, default=3, help="how often"),
)
def counting(options, runs):
    for number in range(options.count):
        runs.add({"number": number})
    goal = Comparison(figure="f", unit="1", fleet=options.count, against=None, baseline="", goal=3)
    return Findings([goal], facts={"count": options.count})


def test_what_was_measured_is_printed_and_kept(tmp_path, capsys):
    measured = counting(["--count", "2", "--results", str(tmp_path / "results")])
    assert (measured.question, measured.method) == ("How many of 2?", "Counted, 2 times.")
    assert measured.runs == ({"number": 0}, {"number": 1})
    assert measured.comparisons[0].fleet == 2
    assert read(tmp_path / "results") == [measured]
    assert "{'number': 1}" in capsys.readouterr().out


def test_a_study_is_named_like_its_module(tmp_path):
    assert counting.program == "test_study"
    assert [each.program for each in (flink_alone.main, growth.main, throughput.main)] == [
        "flink_alone",
        "growth",
        "throughput",
    ]


def test_each_of_several_settings_is_kept_by_itself(tmp_path):
    @study("How?", "So.")
    def one(_options, _runs):
        return Findings(suffix="_2")

    assert one(["--results", str(tmp_path / "results")]).program == "test_study_2"
    assert (tmp_path / "results" / "test_study_2.json").is_file()


def test_what_a_template_lacks_is_an_error():
    with pytest.raises(UndefinedError):
        templates.render("fleet/templates/benchmarks.md.j2")


def test_the_options_are_told(capsys):
    with pytest.raises(SystemExit, match="0"):
        growth.main(["--help"])
    told = capsys.readouterr().out
    assert "Does a question cost more the more there are?" in told
    assert "--stored" in told
    assert "--results" in told
