"""Additional containers on the fleet's network; CPU time and memory of containers."""

import socket
from collections.abc import Iterable
from typing import Any

import docker.errors
from docker.models.containers import Container

from studies.fleet.environment.errors import MeasurementError
from tests.fleet import PROJECT, Fleet

_NAME = f"{PROJECT}-benchmark"


def cpu_seconds(containers: Iterable[Container]) -> float:
    """Returns the CPU seconds of containers since their start."""
    spent = 0
    for each in containers:
        figures = each.stats(stream=False, one_shot=True)
        assert isinstance(figures, dict)  # no stream was requested
        spent += figures["cpu_stats"]["cpu_usage"]["total_usage"]
    return spent / 1e9


def memory_mib(container: Container) -> float:
    """Returns the memory of a container in MiB, without the page cache that the kernel can reclaim."""
    figures = container.stats(stream=False, one_shot=True)
    assert isinstance(figures, dict)  # no stream was requested
    memory = figures["memory_stats"]
    return float(memory["usage"] - memory["stats"].get("inactive_file", 0)) / 2**20


def own_image(fleet: Fleet) -> str:
    """Returns the image of the container that runs this code."""
    return str(fleet.docker.containers.get(socket.gethostname()).attrs["Config"]["Image"])


def run_container(fleet: Fleet, image: str, name: str, alias: str, **options: Any) -> Container:
    """Starts a container on the fleet's network, after removing one of the same name left by a killed run.

    Raises:
        MeasurementError: The image does not exist.
    """
    for left in fleet.docker.containers.list(all=True, filters={"name": f"^/?{_NAME}-{name}$"}):
        left.remove(force=True)
    network = fleet.network
    try:
        container: Container = fleet.docker.containers.run(
            image,
            name=f"{_NAME}-{name}",
            network=network,
            networking_config={network: fleet.docker.api.create_endpoint_config(aliases=[alias])},
            detach=True,
            **options,
        )
    except docker.errors.ImageNotFound:
        raise MeasurementError(f"there is no image {image}; `make study` builds it first") from None
    return container
