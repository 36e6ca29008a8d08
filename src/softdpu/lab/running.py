"""A QEMU process with its console, its agent and its monitor, on an event loop; `Guest` is the face of it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, QMPClient, QMPError
from qemu.qmp.message import Message

from softdpu.lab import channel, machine
from softdpu.lab.errors import GuestDied, GuestError, GuestTimeout

_LAST_LINES = 15
_PANIC = re.compile(rb"---\[ end Kernel panic[^\n]*---")  # the last that a kernel says, behind the trace
# QEMU must not outlive its test, whatever kills that.
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


class Running:
    """One QEMU from start to end. Every method but the constructor runs on the loop that `start` ran on."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], qmp_path: Path) -> None:
        self.command = [*_DIE_WITH_PARENT, *command]
        self.environment = environment
        self.qmp_path = qmp_path
        self.console = bytearray()
        self.stderr = bytearray()
        self.release = ""
        self.boots = 0
        self.events: list[Message] = []
        self.qmp = QMPClient("lab")
        self._listener = EventListener()
        self._changed = asyncio.Condition()
        self._jobs: dict[int, asyncio.Future[channel.Done]] = {}
        self._parts: dict[int, asyncio.Future[bytes]] = {}
        self._numbers = 0
        self._trouble: str | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._process: asyncio.subprocess.Process | None = None
        self._agent: asyncio.StreamWriter | None = None
        # Kept although nothing is written: a stream whose writer is forgotten is closed.
        self._console: asyncio.StreamWriter | None = None

    async def start(self) -> None:
        """Starts QEMU and listens to it; returns when its monitor answers."""
        pairs = [socket.socketpair() for _ in range(3)]
        ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        wires = [
            *machine.serial("console", theirs[0].fileno()),
            *machine.serial("agent", theirs[1].fileno()),
            *machine.monitor("monitor", theirs[2].fileno()),
            *machine.monitor_socket(self.qmp_path),
        ]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                *wires,
                pass_fds=[end.fileno() for end in theirs],
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        finally:
            for end in theirs:
                end.close()
        await self._listen(*ours)

    async def _listen(self, console: socket.socket, agent: socket.socket, monitor: socket.socket) -> None:
        assert self._process is not None and self._process.stderr is not None
        console_reader, self._console = await asyncio.open_unix_connection(sock=console)
        agent_reader, self._agent = await asyncio.open_unix_connection(sock=agent)
        replies = channel.Replies()
        self.qmp.register_listener(self._listener)
        self._tasks = [
            asyncio.create_task(self._pour(console_reader, self._hear_console)),
            asyncio.create_task(self._pour(agent_reader, lambda data: self._hear_agent(replies.feed(data)))),
            asyncio.create_task(self._pour(self._process.stderr, self.stderr.extend)),
            asyncio.create_task(self._collect_events()),
            asyncio.create_task(self._watch()),
        ]
        try:
            await self.qmp.connect(monitor)
        except QMPError as error:
            await asyncio.wait([self._tasks[-1]], timeout=5)
            raise GuestDied(self._trouble or f"QEMU's monitor does not answer: {error}") from error

    async def stop(self) -> None:
        """Ends QEMU at once, whatever the guest is doing, and waits until it is gone."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        with contextlib.suppress(QMPError, OSError, EOFError):
            await self.qmp.disconnect()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in filter(None, (self._agent, self._console)):
            writer.close()

    def take_over(self, former: Running) -> None:
        """The guest of another QEMU is here now, and its agent; what that was to do is not waited for any more."""
        self._numbers, self.boots, self.release = former._numbers, former.boots, former.release

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether QEMU runs."""
        return self._process is not None and self._process.returncode is None

    async def booted(self, boots: int, timeout: float) -> None:
        """Waits until the guest has booted `boots` times since QEMU's start."""
        await self._until(lambda: self.boots >= boots, timeout, f"boot number {boots}")

    async def event(self, name: str, data: dict[str, object], timeout: float) -> Message:
        """Waits for a monitor event with this name and data among its own; takes it off the list and returns it."""

        def match() -> Message | None:
            return next((event for event in self.events if _is(event, name, data)), None)

        await self._until(lambda: match() is not None, timeout, f"event {name}")
        found = match()
        assert found is not None
        self.events.remove(found)
        return found

    async def execute(self, command: str, arguments: dict[str, object] | None, timeout: float) -> object:
        """A monitor command's return value. Raises qemu.qmp.ExecuteError when QEMU refuses."""
        self._check()
        try:
            async with asyncio.timeout(timeout):
                return await self.qmp.execute(command, arguments)
        except TimeoutError:
            raise GuestTimeout(self._tell(f"QEMU did not answer {command} in {timeout:g} s")) from None

    def begin(self, command: str) -> int:
        """Has the agent run `command`; returns its number."""
        self._check()
        assert self._agent is not None
        self._numbers += 1
        self._jobs[self._numbers] = asyncio.get_running_loop().create_future()
        self._agent.write(channel.run(self._numbers, command))
        return self._numbers

    async def finish(self, number: int, timeout: float, command: str) -> channel.Done:
        """Waits for the end of a command. At the timeout the command goes on; the error carries its output so far."""
        job = self._jobs[number]
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(job)
        except TimeoutError:
            said = await self.output(number)
            raise GuestTimeout(
                self._tell(f"{command!r} did not end in {timeout:g} s; it wrote {said.decode(errors='replace')!r}")
            ) from None

    async def output(self, number: int, timeout: float = 10) -> bytes:
        """What a command has written so far; empty when the agent does not say in time."""
        job = self._jobs[number]
        if job.done():
            return job.result().output
        assert self._agent is not None
        part = self._parts.setdefault(number, asyncio.get_running_loop().create_future())
        self._agent.write(channel.peek(number))
        either: list[asyncio.Future[Any]] = [part, job]
        await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        self._parts.pop(number, None)
        if job.done():
            return job.result().output
        return part.result() if part.done() else b""

    def kill(self, number: int) -> None:
        """Ends a command and all that it started."""
        if not self._jobs[number].done():
            assert self._agent is not None
            self._agent.write(channel.kill(number))

    def last_lines(self) -> str:
        """The console's end, for messages."""
        text = self.console.decode(errors="replace").replace("\r", "")
        return "\n".join(text.splitlines()[-_LAST_LINES:])

    async def _pour(self, reader: asyncio.StreamReader, take: Callable[[bytes], None]) -> None:
        while data := await reader.read(65536):
            take(data)
            await self._notify()

    async def _collect_events(self) -> None:
        async for event in self._listener:
            self.events.append(event)
            await self._notify()

    async def _watch(self) -> None:
        assert self._process is not None
        status = await self._process.wait()
        # What it said last may still be in the pipes.
        await asyncio.wait(self._tasks[:3], timeout=2)
        self._fail(f"QEMU ended with status {status}")
        await self._notify()

    def _hear_console(self, data: bytes) -> None:
        self.console += data
        if _PANIC.search(self.console, max(0, len(self.console) - len(data) - 200)):
            self._fail("the guest's kernel panicked")

    def _hear_agent(self, replies: list[channel.Reply]) -> None:
        for reply in replies:
            match reply:
                case channel.Hello(release):
                    self._greet(release)
                case channel.Done(number) if number in self._jobs and not self._jobs[number].done():
                    self._jobs[number].set_result(reply)
                case channel.Part(number, output) if number in self._parts and not self._parts[number].done():
                    self._parts[number].set_result(output)

    def _greet(self, release: str) -> None:
        self.boots, self.release = self.boots + 1, release
        if self.alive:
            self._trouble = None
        self._cancel(GuestError("the guest was restarted while the command ran"))

    def _fail(self, what: str) -> None:
        self._trouble = self._tell(what)
        self._cancel(GuestDied(self._trouble))

    def _cancel(self, error: GuestError) -> None:
        for job in self._jobs.values():
            if not job.done():
                job.set_exception(error)
                job.exception()  # no one need be waiting for it

    def _tell(self, what: str) -> str:
        said = self.stderr.decode(errors="replace").strip()
        qemu = f"\nQEMU said:\n{said}" if said else ""
        return f"{what}.{qemu}\nThe console's last lines:\n{self.last_lines()}"

    def _check(self) -> None:
        if self._trouble:
            raise GuestDied(self._trouble)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _until(self, ready: Callable[[], bool], timeout: float, what: str) -> None:
        def settled() -> bool:
            return ready() or self._trouble is not None

        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(settled)
        except TimeoutError:
            raise GuestTimeout(self._tell(f"no {what} within {timeout:g} s")) from None
        if not ready():
            self._check()


def _is(event: Message, name: str, data: dict[str, object]) -> bool:
    found = event.get("data", {})
    return event["event"] == name and isinstance(found, dict) and data.items() <= found.items()
