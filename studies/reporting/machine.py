"""The machine on which a study runs."""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Machine(BaseModel):
    """Where it was measured.

    Attributes:
        processor: Its model.
        cores: Of the machine.
        memory_bytes: Of the machine.
        load: Load average of the last minute before the measurement began: what else the machine was doing.
    """

    model_config = ConfigDict(frozen=True)

    processor: str
    cores: int
    memory_bytes: int
    load: float

    def line(self) -> str:
        """Returns it as one phrase."""
        memory = self.memory_bytes / 2**30
        return f"{self.processor}, {self.cores} cores, {memory:.1f} GiB, load {self.load:.2f} before the start"


def machine() -> Machine:
    """Describes the machine; call it before the load begins."""
    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    total = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    cores = os.cpu_count() or 1
    return Machine(
        processor=names[0] if names else os.uname().machine,
        cores=cores,
        memory_bytes=total * 1024,
        load=os.getloadavg()[0],
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
