"""Real QEMUs without a guest, which start in a tenth of a second: enough for whatever QMP alone decides."""

import asyncio
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from softdpu.host.interface import HostEvent
from softdpu.host.qemu import QemuHost
from softdpu.lab import Lab

SHARED = ("-object", "memory-backend-memfd,id=mem,size=64M,share=on", "-m", "64M")
Q35 = (*SHARED, "-machine", "q35,memory-backend=mem")
PATIENCE = 15.0  # seconds


class Machine:
    """A QEMU process and its QMP path."""

    def __init__(self, process: "subprocess.Popen[bytes]", path: Path) -> None:
        self.process = process
        self.path = path

    def freeze(self) -> None:
        """As if QEMU was blocked."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Ends it if it has not ended, and waits."""
        self.process.kill()
        self.process.wait()


class Events:
    """A host's listener, to be awaited."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[HostEvent] = asyncio.Queue()

    def __call__(self, event: HostEvent) -> None:
        self.queue.put_nowait(event)

    async def next(self) -> HostEvent:
        """The next thing that the host told."""
        async with asyncio.timeout(PATIENCE):
            return await self.queue.get()


def root_ports(count: int) -> list[str]:
    """Arguments for ports rp0, rp1, …"""
    return [word for n in range(count) for word in ("-device", f"pcie-root-port,id=rp{n},chassis={n + 1}")]


@asynccontextmanager
async def machine(
    path: Path, arguments: Sequence[str] = Q35, *, running: bool = True, qemu: str = "11.1"
) -> AsyncIterator[Machine]:
    """A QEMU that serves QMP on ``path``; the guest has a firmware and nothing to boot."""
    words = ["-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", *arguments]
    words += ["-qmp", f"unix:{path},server=on,wait=off", *([] if running else ["-S"])]
    prefix = Lab().qemu(qemu)
    await asyncio.to_thread(path.unlink, missing_ok=True)
    started = Machine(subprocess.Popen(prefix.qemu(*words), env=prefix.environment()), path)  # noqa: ASYNC220
    try:
        async with asyncio.timeout(PATIENCE):
            while not _listens(path):
                await asyncio.sleep(0.02)
        yield started
    finally:
        started.end()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@asynccontextmanager
async def attached(path: Path) -> AsyncIterator[QemuHost]:
    """A host that is connected."""
    host = QemuHost(path, "vm1")
    await host.attach()
    try:
        yield host
    finally:
        await host.close()
