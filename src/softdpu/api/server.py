"""Serves the HTTP interface on a unix socket, within the controller's event loop.

The socket is created with mode 0600 beside its place and then renamed into it: no moment passes in which others could
connect, a stale socket of a dead controller is replaced, and a client finds the old socket or the new one.
"""

import asyncio
import errno
import importlib
import os
import socket
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softdpu.api.service import Service
from softdpu.controller.errors import OperatorError

if TYPE_CHECKING:
    from litestar import Litestar

PATH_LIMIT = 107  # bytes of sun_path, without its end
GRACE = 1  # seconds that open requests get when the server stops


class Server:
    """A running server. ``await stop()`` lets open requests finish and removes the socket."""

    def __init__(self, app: "Litestar", listening: socket.socket, path: Path) -> None:
        self._path = path
        self._inode = path.stat().st_ino
        self._listening = listening
        self._http = _http_server(app)
        self._task = asyncio.create_task(self._http.serve(sockets=[listening]), name="http")

    async def ready(self) -> None:
        """Wait until requests are answered."""
        started = asyncio.create_task(self._http.ready.wait())
        await asyncio.wait({started, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            started.cancel()
            self._task.result()

    async def stop(self) -> None:
        """Serve no more. A socket that another controller has put there since stays."""
        self._http.leave()
        await self._task
        self._listening.close()
        try:
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except FileNotFoundError:
            pass


async def start(service: Service, path: Path) -> Server:
    """Build the application for this controller and serve it; the loop stays responsive during the slow imports."""
    app = await asyncio.to_thread(importlib.import_module, "softdpu.api.app")
    return await serve(app.create_app(service), path)


async def serve(app: "Litestar", path: Path) -> Server:
    """Serve an application on a unix socket at ``path``; returns when it answers."""
    server = Server(app, listen(path), path)
    await server.ready()
    return server


def listen(path: Path) -> socket.socket:
    """A listening unix socket at ``path``, mode 0600."""
    beside = path.with_name(f".{path.name}")
    if len(os.fsencode(beside)) > PATH_LIMIT:
        raise OperatorError(
            errno.ENAMETOOLONG,
            f"{path} is too long for a unix socket ({PATH_LIMIT - 1} bytes): choose a shorter root (--root).",
        )
    beside.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        listening.bind(os.fspath(beside))
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(mask)
    listening.listen()
    beside.rename(path)
    return listening


def _http_server(app: "Litestar") -> Any:
    """uvicorn's server without its signal handlers, and without its ten wake-ups a second."""
    import uvicorn  # noqa: PLC0415  # slow to import

    class HttpServer(uvicorn.Server):
        def __init__(self) -> None:
            super().__init__(
                uvicorn.Config(
                    app,
                    http="h11",
                    ws="none",
                    lifespan="off",
                    log_config=None,
                    access_log=False,
                    date_header=False,
                    server_header=False,
                    timeout_graceful_shutdown=GRACE,
                )
            )
            self.ready = asyncio.Event()
            self.leaving = asyncio.Event()

        def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
            return nullcontext()

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            self.ready.set()

        async def main_loop(self) -> None:
            await self.leaving.wait()

        def leave(self) -> None:
            self.should_exit = True
            self.leaving.set()

    return HttpServer()
