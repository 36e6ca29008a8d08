"""Our datapath as its controller starts it, with two functions behind vhost-user: every check and counter is on."""

import asyncio
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from softdpu.datapath import process
from softdpu.datapath.client import DatapathLink, Request
from softdpu.datapath.messages import Answer, Create, Shutdown
from softdpu.net.state import FunctionConfig
from softdpu.net.vhost import VhostFunction
from softdpu.spec import features as f
from softdpu.virtio.effects import SetFabric
from tools.bench.windows import WORK

T = TypeVar("T")
OFFERED = f.mask_of(f.RING_PACKED, f.IN_ORDER)  # beyond what is on offer unasked


class Ours:
    """The datapath between its functions. ``taps``: descriptors of representors; the built-in switch without them."""

    def __init__(self, taps: tuple[int, ...] = (), queue_size: int = 1024) -> None:
        self.taps, self.queue_size = taps, queue_size
        self._run = tempfile.TemporaryDirectory(prefix="softdpu-bench-")
        self._path = Path(self._run.name)
        self.sockets = [self._path / f"guest{number}" for number in range(2)]
        self.pid = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._link: DatapathLink | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.pid = process.start(self._path / "control", self._path / "log")
        self._await(self._begin())
        os.sched_setaffinity(self.worker, {WORK})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.kill(self.pid, signal.SIGCONT)
        self._await(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._run.cleanup()

    @property
    def worker(self) -> int:
        """The thread that forwards."""
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            if (task / "comm").read_text().startswith("worker"):
                return int(task.name)
        raise RuntimeError(f"the datapath has no worker: {(self._path / 'log').read_text()}")

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _begin(self) -> None:
        connection = process.connect(self._path / "control")
        assert connection is not None
        self._link = DatapathLink(connection, _agree, lambda: None)
        await self._link.attach()
        self._link.serve()
        for number, path in enumerate(self.sockets):
            await self._create(number, path)

    async def _create(self, number: int, path: Path) -> None:
        assert self._link is not None
        config = FunctionConfig(
            layout="modern", mac=bytes((2, 0, 0, 0, 0, number)), queue_size=self.queue_size, features=OFFERED
        )
        function = VhostFunction.create(config)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            create = Create(
                ticket=self._link.ticket(),
                function=number,
                description=function.description,
                representor=bool(self.taps),
                state=b"",
                effects=(*function.start_effects(), SetFabric(not self.taps)),
            )
            await self._link.ask(create, [listener.fileno(), *self.taps[number : number + 1]])

    async def _end(self) -> None:
        assert self._link is not None
        await self._link.ask(Shutdown(self._link.ticket()))
        self._link.close()
        await process.ended(self.pid)


def _agree(request: Request) -> Answer:
    """Nothing that these guests do needs a controller's answer."""
    return Answer(request.function, request.request, 0, b"", None, ())
