"""The back ends under comparison, each polling on the same core, and asleep while it is another's turn."""

import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from softdpu.lab.peers import Hugepages, OvsDpdk, Testpmd, vhost
from tools.bench.windows import DRIVE, WORK

GUESTS = 2
PEER_MEGABYTES, GUEST_MEGABYTES = 512, 128


class Runner(Protocol):
    """A back end's process."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def sockets(self) -> Sequence[Path]:
        """Of its guests."""

    @property
    def worker(self) -> int:
        """The thread that forwards."""


class Forwarder:
    """DPDK's testpmd in io mode between two vhost ports."""

    def __init__(self, hugepages: Hugepages) -> None:
        self._run = tempfile.TemporaryDirectory(prefix="softdpu-bench-")
        self.sockets = [Path(self._run.name) / f"guest{number}" for number in range(GUESTS)]
        vdevs = [vhost(number, path) for number, path in enumerate(self.sockets)]
        self._testpmd = Testpmd(vdevs, hugepages=hugepages, work=WORK, prompt=DRIVE)

    def __enter__(self) -> Self:
        self._testpmd.__enter__().command("start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.kill(self.pid, signal.SIGCONT)
        self._testpmd.__exit__(kind, error, trace)
        self._run.cleanup()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._testpmd.pid

    @property
    def worker(self) -> int:
        """The thread that forwards."""
        return self._testpmd.worker


class Switch:
    """OVS with DPDK, a learning bridge between two vhost-user ports."""

    def __init__(self, hugepages: Hugepages) -> None:
        self._names = [f"guest{number}" for number in range(GUESTS)]
        self._ovs = OvsDpdk(self._names, hugepages, work=WORK, other=DRIVE)

    def __enter__(self) -> Self:
        self._ovs.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.kill(self.pid, signal.SIGCONT)
        self._ovs.__exit__(kind, error, trace)

    @property
    def sockets(self) -> list[Path]:
        """Of its guests."""
        return [self._ovs.socket(name) for name in self._names]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._ovs.pid

    @property
    def worker(self) -> int:
        """The thread that forwards."""
        return self._ovs.worker


@contextmanager
def memory() -> Iterator[Hugepages]:
    """Huge pages for a peer, and as many more in the machine's pool as the guests of the driver take."""
    with Hugepages(GUEST_MEGABYTES), Hugepages(PEER_MEGABYTES) as pages:
        yield pages


@contextmanager
def turn(back_end: Runner) -> Iterator[Runner]:
    """The back end's turn: it runs inside, and is stopped outside."""
    os.kill(back_end.pid, signal.SIGCONT)
    try:
        yield back_end
    finally:
        os.kill(back_end.pid, signal.SIGSTOP)
