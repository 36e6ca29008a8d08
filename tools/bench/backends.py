"""The back ends under comparison, each polling on the same core, and asleep while it is another's turn."""

import os
import signal
import tempfile
from abc import ABC, abstractmethod
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


class Theirs(ABC):
    """A peer that is awake when it ends, whosever turn it was."""

    def __init__(self, peer: Testpmd | OvsDpdk) -> None:
        self._peer = peer

    def __enter__(self) -> Self:
        self._peer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.kill(self.pid, signal.SIGCONT)
        self._peer.__exit__(kind, error, trace)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._peer.pid

    @property
    def worker(self) -> int:
        """The thread that forwards."""
        return self._peer.worker

    @property
    @abstractmethod
    def sockets(self) -> Sequence[Path]:
        """Of its guests."""


class Forwarder(Theirs):
    """DPDK's testpmd in io mode between two vhost ports."""

    def __init__(self, hugepages: Hugepages) -> None:
        self._run = tempfile.TemporaryDirectory(prefix="softdpu-bench-")
        self._sockets = [Path(self._run.name) / f"guest{number}" for number in range(GUESTS)]
        vdevs = [vhost(number, path) for number, path in enumerate(self._sockets)]
        self._testpmd = Testpmd(vdevs, hugepages=hugepages, work=WORK, prompt=DRIVE)
        super().__init__(self._testpmd)

    def __enter__(self) -> Self:
        super().__enter__()
        self._testpmd.command("start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._run.cleanup()

    @property
    def sockets(self) -> Sequence[Path]:
        """Of its guests."""
        return self._sockets


class Switch(Theirs):
    """OVS with DPDK, a learning bridge between two vhost-user ports."""

    def __init__(self, hugepages: Hugepages) -> None:
        self._names = [f"guest{number}" for number in range(GUESTS)]
        self._ovs = OvsDpdk(self._names, hugepages, work=WORK, other=DRIVE)
        super().__init__(self._ovs)

    @property
    def sockets(self) -> Sequence[Path]:
        """Of its guests."""
        return [self._ovs.socket(name) for name in self._names]


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
