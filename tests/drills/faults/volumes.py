"""Helpers that work on the volume of a container."""

from docker.models.containers import Container

from tests.drills.faults.base import Stage


def volume_of(container: Container, folder: str) -> str:
    """Returns the name of the volume that a container has at a folder."""
    [name] = [each["Name"] for each in container.attrs["Mounts"] if each["Destination"] == folder]
    return str(name)


def helper(stage: Stage, container: Container, folder: str, command: str, snapshot: str | None = None) -> str:
    """Runs a shell command as root with the volume of a container (/data) and optionally one for a copy (/snapshot).

    Returns:
        The output of the command.
    """
    volumes = {volume_of(container, folder): {"bind": "/data"}}
    if snapshot:
        volumes[snapshot] = {"bind": "/snapshot"}
    output: bytes = stage.fleet.docker.containers.run(
        stage.image,
        command=["sh", "-c", command],
        volumes=volumes,
        user="root",
        remove=True,
    )
    return output.decode(errors="replace")
