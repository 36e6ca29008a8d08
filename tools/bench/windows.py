"""The driver that plays two guests; windows in which a hot thread lacked its core are dropped."""

import os
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import msgspec

ROOT = Path(__file__).resolve().parents[2]
WORK, DRIVE = 0, 1  # the cores of back end and driver
WINDOWS, MILLISECONDS = 5, 80
WAITED = 0.01  # of a window: more than this on a run queue, and it is dropped
TRIES = 4
LAYOUTS: dict[str, tuple[str, ...]] = {"split": (), "packed": ("--packed",)}


class NotQuiet(RuntimeError):
    """The machine gave the hot threads too little of their cores for a figure to mean anything."""


class BackEnd(Protocol):
    """What a driver needs to know of a back end."""

    @property
    def sockets(self) -> Sequence[Path]:
        """Of both guests."""

    @property
    def worker(self) -> int:
        """The thread that forwards."""


class Window(msgspec.Struct, frozen=True):
    """One window, as the driver reports it. Microseconds for p50 and p99, time stamps a frame for ``cycles``."""

    seconds: float
    frames: int
    lost: int
    cycles: float
    waited: int  # ns
    stolen: int  # ticks
    p50: float | None = None
    p99: float | None = None

    @property
    def quiet(self) -> bool:
        """Whether the hot threads had their cores."""
        return self.stolen == 0 and self.waited < WAITED * self.seconds * 1e9 and self.frames > 0

    @property
    def mpps(self) -> float:
        """Millions of frames a second."""
        return self.frames / self.seconds / 1e6


class Report(msgspec.Struct, frozen=True):
    """What the driver prints."""

    windows: tuple[Window, ...]
    disorder: int


@cache
def driver() -> Path:
    """The driver's program, built."""
    cargo = [str(ROOT / "tools/with-rust"), "cargo", "build", "--quiet", "--release", "--locked"]
    subprocess.run([*cargo, "--package", "softdpu-bench-driver", "--features", "dpdk"], cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return Path(target) / "release/softdpu-bench-driver"


def windows(verb: str, *options: object, back_end: BackEnd | None = None, core: int = DRIVE) -> list[Window]:
    """Quiet windows of one connection to ``back_end``. Raises NotQuiet."""
    for _ in range(TRIES):
        report = run([verb, "--core", core, "--fifo", *options], back_end)
        if report.disorder:
            raise RuntimeError(f"{report.disorder} buffers were used out of order, which the driver cannot follow")
        quiet = [window for window in report.windows if window.quiet]
        if len(quiet) > len(report.windows) // 2:
            return quiet
    raise NotQuiet("other programs, or other machines on this host, kept the hot threads from their cores")


def run(options: Sequence[object], back_end: BackEnd | None = None) -> Report:
    """What the driver reports of one connection, quiet or not."""
    words = [driver(), *options, "--windows", WINDOWS, "--milliseconds", MILLISECONDS]
    if back_end is not None:
        words += ["--also", back_end.worker, *back_end.sockets]
    with tempfile.TemporaryDirectory(prefix="softdpu-bench-") as run:
        environment = os.environ | {"RUNTIME_DIRECTORY": run, "TMPDIR": run}
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, env=environment, check=False
        )
    if done.returncode:
        raise RuntimeError(f"the driver failed: {done.stderr.strip()}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Report)


def mpps(back_end: BackEnd, *options: object) -> float:
    """Millions of frames a second from guest to guest, the median of the windows."""
    return statistics.median(window.mpps for window in windows("throughput", *options, back_end=back_end))


def p50(back_end: BackEnd, *options: object) -> float:
    """Microseconds from guest to guest with one frame in flight."""
    return statistics.median(window.p50 or 0 for window in windows("latency", *options, back_end=back_end))


def copies(*options: object) -> float:
    """Millions of frames a second that memcpy moves from ring to ring, on the back end's core."""
    return statistics.median(window.mpps for window in windows("memcpy", *options, core=WORK))


def cycles(verb: str, *options: object) -> float:
    """Cycles a frame of a back end in the driver's own thread: the best window, since every disturbance adds."""
    return min(window.cycles for window in windows(verb, *options, core=WORK))


def p99(verb: str, *options: object) -> float:
    """Microseconds with one frame in flight, with a back end in the driver's own thread: the median of the windows."""
    return statistics.median(window.p99 or 0 for window in windows(verb, *options, core=WORK))
