from datetime import UTC, datetime

from studies.reporting.machine import Machine
from studies.reporting.results import Comparison, Measurement


def comparison(**changes):
    values = {"figure": "f", "unit": "1/s", "fleet": 300.0, "against": 100.0, "baseline": "b", "goal": 2.5}
    return Comparison(**values | changes)


def measurement(*comparisons, program="throughput", runs=({"side": "fleet", "completed/s": 301.25},)):
    machine = Machine(processor="Test CPU", cores=2, memory_bytes=8 * 2**30, load=0.5)
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    return Measurement(
        program=program, question="q?", method="m", at=at, machine=machine, comparisons=comparisons, runs=runs
    )
