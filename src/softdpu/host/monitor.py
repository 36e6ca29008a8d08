"""One connection to a QEMU's QMP socket: commands with a time limit, events, and the news that it has ended."""

import asyncio
import contextlib
import logging
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError, Runstate

from softdpu.host.errors import HostBlocked, HostGone, HostRefused, HostUnreachable, reason

CONNECT_TIMEOUT = 5.0  # seconds for greeting and negotiation
COMMAND_TIMEOUT = 10.0  # seconds for a command that only asks

# The library logs each failure that it raises, and late answers to commands that we gave up: all told elsewhere.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

EventHandler = Callable[[str, Mapping[str, Any]], None]


class Monitor:
    """A QMP session.

    ``on_event(name, data)`` and ``on_gone(monitor)`` are called in its event loop; they must not raise.
    """

    def __init__(self, host: str, path: Path, on_event: EventHandler, on_gone: "Callable[[Monitor], None]") -> None:
        self.host = host
        self.path = path
        self._on_event = on_event
        self._on_gone = on_gone
        self._client = QMPClient()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def connected(self) -> bool:
        """Whether commands can be sent."""
        return self._client.runstate is Runstate.RUNNING

    @property
    def version(self) -> tuple[int, int, int]:
        """QEMU's major, minor and micro version, from its greeting."""
        greeting = self._client.greeting
        assert greeting is not None
        version: Any = greeting.QMP.version["qemu"]
        return version["major"], version["minor"], version["micro"]

    async def connect(self, timeout: float = CONNECT_TIMEOUT) -> None:
        """Opens the session. Raises HostUnreachable with the cause."""
        try:
            await asyncio.to_thread(_check_socket, self.path)
            async with asyncio.timeout(timeout):
                await self._client.connect(str(self.path))
        except TimeoutError as error:
            cause = (
                f"it does not greet within {timeout:g} s; another client may hold this socket (QEMU serves one at a "
                "time: give softdpu one of its own), or QEMU is stopped"
            )
            raise HostUnreachable(self.path, cause) from error
        except (OSError, QMPError) as error:
            raise HostUnreachable(self.path, _cause(error), ended=_ended(error)) from error
        self._tasks = [asyncio.create_task(self._read_events()), asyncio.create_task(self._await_end())]

    async def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, timeout: float = COMMAND_TIMEOUT
    ) -> Any:
        """A command's answer. Raises HostRefused, HostBlocked or HostGone."""
        try:
            async with asyncio.timeout(timeout):
                return await self._client.execute(command, arguments)
        except TimeoutError as error:
            raise HostBlocked(self.host, command, timeout) from error
        except ExecuteError as error:
            raise HostRefused(self.host, command, error.error_class, str(error).rstrip(".")) from error
        except (QMPError, OSError, EOFError) as error:
            raise HostGone(self.host, command) from error

    async def close(self) -> None:
        """Ends the session without calling ``on_gone``; QEMU stays as it is."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._disconnect()

    async def _disconnect(self) -> None:
        # The reason of a broken connection was told to whoever waited on it.
        with contextlib.suppress(Exception):
            await self._client.disconnect()

    async def _read_events(self) -> None:
        async for event in self._client.events:
            data = event.get("data")
            self._on_event(str(event["event"]), data if isinstance(data, Mapping) else {})

    async def _await_end(self) -> None:
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        self._tasks[0].cancel()
        self._on_gone(self)
        await self._disconnect()


def _check_socket(path: Path) -> None:
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise OSError(f"{path} is not a socket")


def _ended(error: Exception) -> bool:
    return isinstance(_root(error), FileNotFoundError | ConnectionRefusedError)


def _root(error: Exception) -> Exception:
    return error.exc if isinstance(error, ConnectError) else error


def _cause(error: Exception) -> str:
    root = _root(error)
    if isinstance(root, ConnectionRefusedError):
        return "nobody listens there any more"
    if isinstance(root, OSError):
        return reason(root)
    if isinstance(root, EOFError):
        return "whoever listens there closes the connection without a word"
    return "whoever listens there does not speak QMP"
