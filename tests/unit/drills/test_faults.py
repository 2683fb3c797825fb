"""Faults on fake containers that record their calls."""

import pytest
import requests

from tests.drills.drill import strikes_of
from tests.drills.faults import ALL, BrokenPromise, Stage
from tests.drills.faults.containers import START_ORDER, Kill, Stop, Terminate


class Container:
    def __init__(self, name, log, ignores_signals=False, exit_code=0):
        self.name = name
        self.status = "running"
        self.attrs = {"Config": {}}
        self._log = log
        self._stubborn = ignores_signals
        self._exit_code = exit_code

    def kill(self, signal="SIGKILL"):
        self._log.append((signal, self.name))

    def pause(self):
        self.status = "paused"
        self._log.append(("pause", self.name))

    def unpause(self):
        self.status = "running"
        self._log.append(("unpause", self.name))

    def reload(self):
        pass

    def stop(self, timeout):
        self._log.append(("stop", self.name))

    def start(self):
        self._log.append(("start", self.name))

    def wait(self, timeout):
        if self._stubborn:
            raise requests.exceptions.ReadTimeout
        return {"StatusCode": self._exit_code}


class Fleet:
    """Fake fleet with one container for each service."""

    def __init__(self, **changed):
        self.log = []
        self._changed = changed
        self._known = {}

    def containers(self, service, everything=False):
        return [self._known.setdefault(service, Container(service, self.log, **self._changed))]

    def wait_healthy(self, service, seconds):
        self.log.append(("healthy", service))


class Workers:
    def __init__(self, log):
        self.containers = [Container(f"worker-{number}", log) for number in (1, 2)]


def stage(**changed):
    fleet = Fleet(**changed)
    return Stage(fleet, Workers(fleet.log)), fleet.log


def test_a_kill_fault_kills_one_container_and_starts_it_again():
    environment, log = stage()
    fault = ALL["kill-llm-consumer-2"]
    assert isinstance(fault, Kill)
    fault.apply(environment)
    fault.undo(environment)
    assert log == [("SIGKILL", "worker-2"), ("start", "worker-2")]


def test_a_stop_fault_stops_a_service_and_starts_it_again():
    environment, log = stage()
    fault = Stop("outage", "kafka")
    fault.apply(environment)
    fault.undo(environment)
    assert log == [("stop", "kafka"), ("start", "kafka")]
    assert fault.seconds == 60


def test_a_frozen_container_is_unpaused_once():
    environment, log = stage()
    fault = ALL["freeze-kafka"]
    fault.apply(environment)
    fault.undo(environment)
    fault.undo(environment)
    assert log == [("pause", "kafka"), ("unpause", "kafka")]


def test_a_terminate_fault_sends_sigterm_once():
    environment, log = stage()
    ALL["sigterm-storage-writer"].apply(environment)
    assert log == [("SIGTERM", "storage-writer")]
    assert not ALL["sigterm-storage-writer"].repeats


def test_a_service_that_ignores_sigterm_is_reported_and_killed():
    environment, log = stage(ignores_signals=True)
    with pytest.raises(BrokenPromise, match="storage-writer still runs"):
        Terminate("sigterm", ["storage-writer"]).apply(environment)
    assert log == [("SIGTERM", "storage-writer"), ("SIGKILL", "storage-writer")]


def test_services_start_after_their_dependencies():
    environment, log = stage()
    ALL["down-and-up"].apply(environment)
    services = {*START_ORDER, "worker-1", "worker-2"}
    assert {name for what, name in log if what == "stop"} == services
    log.clear()
    ALL["down-and-up"].undo(environment)
    assert {name for what, name in log if what == "start"} == services
    assert log.index(("healthy", "kafka")) < log.index(("start", "kafka-init")) < log.index(("start", "worker-1"))


def test_a_failed_one_shot_is_reported_and_the_others_start():
    environment, log = stage(exit_code=3)
    with pytest.raises(BrokenPromise, match="postgres-init ended with 3; kafka-init ended with 3"):
        ALL["down-and-up"].undo(environment)
    assert ("start", "worker-2") in log, "the other services must start too"


def test_starting_in_random_order_starts_all_services():
    environment, log = stage(exit_code=3)
    orders = []
    for name in ("up-in-any-order-1", "up-in-any-order-2"):
        ALL[name].undo(environment)
        orders.append([service for _, service in log])
        log.clear()
    assert orders[0] != orders[1]
    for order in orders:
        assert {*order} == {*START_ORDER, "worker-1", "worker-2"}
        assert order.index("kafka") > order.index("llm-server"), "the order must not be that of the dependencies"


def test_faults_are_spread_evenly_over_the_load():
    assert [each.at_seconds for each in strikes_of(ALL["replay"], 20)] == [10]
    assert [each.at_seconds for each in strikes_of(ALL["kill-storage-writer"], 30)] == [10, 20]


def test_every_planned_fault_exists():
    killed = [
        "llm-consumer-1", "llm-consumer-2", "retry-overload-consumer", "retry-quota-consumer", "storage-writer",
        "storage-service", "score-validator", "flink-taskmanager", "flink-jobmanager",
    ]  # fmt: skip
    assert [ALL[f"kill-{each}"].times for each in killed] == [2] * len(killed)
    frozen = ["llm-consumer", "storage-writer", "flink-taskmanager", "kafka", "postgres", "redis"]
    assert {name for name, fault in ALL.items() if fault.seconds == 60} == {
        "kafka-away", "postgres-away", "redis-away", "scorer-away", *(f"freeze-{each}" for each in frozen),
        *(f"slow-link-{each}" for each in ("kafka", "postgres", "redis")),
    }  # fmt: skip
    assert {name for name, fault in ALL.items() if fault.loses} == {"records-deleted", "kafka-volume-lost", "power-cut"}
    assert {
        *("replay", "replay-all", "kill-before-published", "kill-before-noted", "checkpoints-fail", "changed-job"),
        *("clock-llm-consumer", "clock-storage-writer", "disk-full-kafka", "disk-full-postgres"),
    } <= ALL.keys()
