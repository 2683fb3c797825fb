"""The machine on which a study runs."""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Machine(BaseModel):
    """The machine of a measurement.

    Attributes:
        processor: Model of the processor.
        cores: Number of cores.
        memory_bytes: Size of the memory.
        load: Load average of the minute before the measurement, caused by other programs.
    """

    model_config = ConfigDict(frozen=True)

    processor: str
    cores: int
    memory_bytes: int
    load: float

    def line(self) -> str:
        """Returns a description in one phrase."""
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
