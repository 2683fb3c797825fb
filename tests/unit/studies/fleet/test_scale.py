from datetime import UTC, datetime

import pytest

from studies.fleet import scale
from studies.fleet.scale import Load, Shape, simulate
from studies.reporting.machine import Machine
from studies.reporting.results import Measurement

TAKEN = {
    **{
        f"CPU of {name}": 6.0
        for name in ("llm-consumer", "storage-service", "storage-writer", "flink-taskmanager", "kafka", "postgres")
    },
    "disk of the topic questions-pending": 1000.0,
    "disk of the topic validated-responses": 2000.0,
    "transactions of PostgreSQL": 0.5,
    "write-ahead log of PostgreSQL": 4000.0,
    "tables and indexes of PostgreSQL": 3000.0,
    "commands of Redis": 5.0,
    "memory of Redis": 800.0,
}


def shape(**changes):
    return Shape(**{"partitions": 64, "consumers": 1, "concurrency": 10, "model_seconds": 1.0} | changes, cores=2)


def test_calls_in_flight_decide_where_cpu_is_plenty():
    assert simulate(shape(cpu_seconds=0.0), 1000) == pytest.approx(10)


def test_cores_decide_where_calls_are_short():
    assert simulate(shape(cpu_seconds=0.01, model_seconds=0.0), 1000) == pytest.approx(200)


def test_uneven_partitions_keep_some_consumers_waiting():
    uneven = simulate(shape(cpu_seconds=0.0, partitions=3, consumers=2), 3000)
    assert uneven == pytest.approx(15, rel=0.05), "one consumer has two of three partitions"
    even = simulate(shape(cpu_seconds=0.0, partitions=300, consumers=2), 3000)
    assert even == pytest.approx(20, rel=0.1)


def test_what_was_measured_is_simulated_beside():
    run = {
        "partitions": 3,
        "llm-consumers": 2,
        "model": "1 s",
        "questions": 3000,
        "completed/s": 14.0,
        "CPU ms/question": 5.0,
    }
    machine = Machine(processor="x", cores=2, memory_bytes=1, load=0)
    at = datetime(2026, 1, 2, tzinfo=UTC)
    scaling = Measurement(
        program="scaling",
        question="",
        method="",
        at=at,
        machine=machine,
        comparisons=(),
        runs=(run,),
    )
    [checked] = scale.checks(scaling, 10)
    assert checked["simulated / measured"] == pytest.approx(15 / 14, rel=0.06)


def test_what_is_needed_grows_with_the_rate():
    few, many = (scale.needs(Load(rate, 1.5, 2, 50, 100, 1000), TAKEN) for rate in (10, 1000))
    assert (few["calls in flight"], many["calls in flight"]) == (30, 3000)
    assert (few["llm-consumers"], many["llm-consumers"]) == (1, 100)
    assert many["partitions of questions-pending"] == 400
    assert (many["storage-service, processes"], many["storage-writer, processes"]) == (10, 15)
    assert (few["brokers"], many["brokers"]) == (1, 6)
    assert many["topics, MB/s"] == pytest.approx(4.5)
    assert many["PostgreSQL, GB/day"] == pytest.approx(259.2)
    assert (many["scorer, cores"], many["scorer, GPUs instead"]) == (25, 3)


def test_a_table_is_turned_round():
    rows = [{"questions/s": 10, "brokers": 1, "cores": 2}, {"questions/s": 1000, "brokers": 3, "cores": 20}]
    assert scale.across(rows) == [
        {"questions/s": "brokers", "10": 1, "1,000": 3},
        {"questions/s": "cores", "10": 2, "1,000": 20},
    ]


def test_a_table_is_put_between_its_comments():
    document = "# Scale\n\n<!-- needs -->\nold\n<!-- end of needs -->\n\nend\n"
    once = scale.fill(document, "needs", [{"brokers": 3}])
    assert once == "# Scale\n\n<!-- needs -->\n\n| brokers |\n| --- |\n| 3 |\n\n<!-- end of needs -->\n\nend\n"
    assert scale.fill(once, "needs", [{"brokers": 3}]) == once
    with pytest.raises(ValueError, match="simulation"):
        scale.fill(document, "simulation", [])
