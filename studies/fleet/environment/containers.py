"""Additional containers on the fleet's network; CPU time and memory of containers."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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


@contextmanager
def running_container(fleet: Fleet, image: str, name: str, alias: str = "", **options: Any) -> Iterator[Container]:
    """Runs a container on the fleet's network; removes one of the same name first, which a killed run has left.

    Args:
        fleet: The fleet.
        image: Image of the container.
        name: End of its name.
        alias: Its name on the network; by default `name`.
        options: Further options of Docker's SDK.

    Raises:
        MeasurementError: The image does not exist.
    """
    for left in fleet.docker.containers.list(all=True, filters={"name": f"^/?{_NAME}-{name}$"}):
        left.remove(force=True)
    try:
        container = fleet.run(image, f"{_NAME}-{name}", alias or name, **options)
    except docker.errors.ImageNotFound:
        raise MeasurementError(f"there is no image {image}; `make study` builds it first") from None
    try:
        yield container
    finally:
        container.remove(force=True, v=True)
