"""What processes hold: descriptors, mappings, memory, and processor time."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

TICKS = os.sysconf("SC_CLK_TCK")


class Held(NamedTuple):
    """Of one process, now."""

    descriptors: int
    mappings: int
    memory: int  # bytes of anonymous memory

    @classmethod
    def by(cls, pid: int) -> Self:
        """Raises OSError when there is no such process."""
        place = Path(f"/proc/{pid}")
        memory = next(line for line in (place / "status").read_text().splitlines() if line.startswith("RssAnon"))
        descriptors = sum(1 for _ in (place / "fd").iterdir())
        return cls(descriptors, (place / "maps").read_text().count("\n"), int(memory.split()[1]) << 10)

    def __str__(self) -> str:
        return f"{self.descriptors} descriptors, {self.mappings} mappings, {self.memory / (1 << 20):.1f} MiB"


def busy(processes: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Share of one core, in percent, that each process, by its name, uses over the next seconds."""
    before = {name: _spent(pid) for name, pid in processes.items()}
    time.sleep(seconds)
    return {name: 100 * (_spent(pid) - before[name]) / seconds for name, pid in processes.items()}


def _spent(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
