"""What test runs left behind that were killed before they could clean up: controllers, namespaces, directories.

All of it carries the process id of its run in its name, and is removed once no such process lives. Datapaths are not
looked for: without a controller and a VMM they end by themselves.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

NAMED = re.compile(r"dpu-(?P<run>\d+)-\d+")
NAMESPACES = Path("/run/netns")


def sweep() -> None:
    """Remove what dead runs left."""
    for root in _of_dead_runs(Path(tempfile.gettempdir())):
        _end_controller(root)
        shutil.rmtree(root, ignore_errors=True)
    for namespace in _of_dead_runs(NAMESPACES):
        subprocess.run(["ip", "netns", "del", namespace.name], check=False, capture_output=True)


def _of_dead_runs(place: Path) -> list[Path]:
    entries = list(place.iterdir()) if place.exists() else []
    named = [(entry, NAMED.match(entry.name)) for entry in entries]
    return [entry for entry, match in named if match and not Path(f"/proc/{match['run']}").exists()]


def _end_controller(root: Path) -> None:
    """By the process id in its lock, if that process is the controller of this root indeed."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((root / "run/virtnet/controller.lock").read_text())
        if f"SOFTDPU_ROOT={root}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            os.kill(pid, signal.SIGKILL)
