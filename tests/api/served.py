"""A controller's interface, served on a real socket from a thread of its own."""

import asyncio
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from softdpu.api.client import Client
from softdpu.api.server import Server, start
from softdpu.controller.root import Root
from tests.api.desk import Desk

Result = TypeVar("Result")


class Served:
    """A Desk behind its socket. ``await_(…)`` runs a coroutine in the server's loop."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.left: list[str] = []
        self.desk = Desk(self._leave)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="controller")
        self.thread.start()
        root.run.mkdir(parents=True, exist_ok=True)
        self.server: Server = self.await_(start(self.desk, root.api))
        self.client = Client(root.api, patience=10)

    def await_(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of a coroutine of the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def _leave(self, how: str) -> None:
        """As a controller does: the reply goes out, then a successor serves, or nobody."""
        self.left.append(how)
        self.loop.call_later(0.1, lambda: self.loop.create_task(self._replace(how)))

    async def _replace(self, how: str) -> None:
        await self.server.stop()
        if how != "stop":
            self.server = await start(self.desk, self.root.api)

    def close(self) -> None:
        """Stop serving."""
        self.await_(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@contextmanager
def short_root() -> Iterator[Root]:
    """A root whose path is short enough for unix sockets, wherever pytest keeps its own."""
    with tempfile.TemporaryDirectory(prefix="dpu") as folder:
        yield Root(Path(folder))


@contextmanager
def serving() -> Iterator[Served]:
    """A served Desk in a fresh root."""
    with short_root() as root:
        served = Served(root)
        try:
            yield served
        finally:
            served.close()
