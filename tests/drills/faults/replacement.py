"""Base class of faults that replace a container of the fleet by a changed one."""

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from docker.models.containers import Container

from tests.drills.faults.base import Fault, Stage
from tests.fleet import PROJECT

STOP_SECONDS = 30


@dataclass(frozen=True)
class Replaced(Fault):
    """Fault in a container that replaces the first one of a service."""

    service: str = field(kw_only=True)

    @property
    def _replacement(self) -> str:
        return f"{PROJECT}-drill-{self.name}"

    def original(self, stage: Stage) -> Container:
        """Returns the container that is replaced."""
        return stage.containers(self.service)[0]

    def replacement(self, stage: Stage) -> Container | None:
        """Returns the replacement, if there is one."""
        found = stage.fleet.docker.containers.list(all=True, filters={"name": self._replacement})
        return found[0] if found else None

    def replace(
        self,
        stage: Stage,
        environment: Mapping[str, str] | None = None,
        volumes: Mapping[str, str] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Container:
        """Starts a container like the original, which has been stopped, and returns it.

        Args:
            stage: The fleet of the drill.
            environment: Additional variables.
            volumes: Names of volumes by mount folder; they replace those of the original.
            files: Contents by path; they replace files of the image.
        """
        docker, network = stage.fleet.docker, stage.fleet.network
        original = self.original(stage)
        original.reload()
        config, host = original.attrs["Config"], original.attrs["HostConfig"]
        own = {each["Destination"]: each["Name"] for each in original.attrs["Mounts"] if each["Type"] == "volume"}
        aliases = original.attrs["NetworkSettings"]["Networks"][network]["Aliases"] or []
        made: Container = docker.containers.create(
            config["Image"],
            entrypoint=config["Entrypoint"],
            command=config["Cmd"],
            environment=[*config["Env"], *(f"{name}={value}" for name, value in (environment or {}).items())],
            user=config["User"],
            volumes={name: {"bind": folder} for folder, name in (own | dict(volumes or {})).items()},
            tmpfs=host.get("Tmpfs"),  # Docker omits options that a container does not have
            shm_size=host["ShmSize"],
            mem_limit=host["Memory"],
            init=host.get("Init"),
            # Not read-only, because the files are written before the start.
            cap_drop=host["CapDrop"],
            security_opt=host["SecurityOpt"],
            restart_policy={"Name": "always"},
            network=network,
            networking_config={network: docker.api.create_endpoint_config(aliases=aliases)},
            name=self._replacement,
        )
        if files:
            made.put_archive("/", _archive(files))
        made.start()
        return made

    def undo(self, stage: Stage) -> None:
        replacement = self.replacement(stage)
        if replacement:
            replacement.stop(timeout=STOP_SECONDS)
            self.before_original(stage)
            replacement.remove(force=True)
        self.original(stage).start()

    def before_original(self, stage: Stage) -> None:
        """Runs between the stop of the replacement and the start of the original."""


def _archive(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(str(PurePosixPath(path).relative_to("/")))
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()
