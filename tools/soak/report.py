"""The table of what was done and seen, as it grows, and the same for machines."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line: what was done, what was seen, whether it is as promised, and the figures behind it."""

    part: str
    done: str
    seen: str
    holds: bool
    figures: dict[str, Any] = field(default_factory=dict)


class Report:
    """Rows, printed as they come."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Keeps and prints it."""
        self.rows.append(row)
        print(f"{'ok  ' if row.holds else 'FAIL'} {row.part:<10} {row.done:<58} {row.seen}", flush=True)

    @property
    def holds(self) -> bool:
        """Whether all is as promised."""
        return all(row.holds for row in self.rows)

    def write(self, path: Path) -> None:
        """As JSON, with how loaded the machine is."""
        path.parent.mkdir(parents=True, exist_ok=True)
        load = dict(zip(("1 min", "5 min", "15 min"), os.getloadavg(), strict=True))
        machine = {"processors": os.cpu_count(), "load": load}
        path.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in self.rows]}, indent=2) + "\n")
