"""Functions whose VMM listens: each is connected to it, and again whenever that connection has ended."""

import asyncio
import errno
import logging
import socket

from softdpu.controller.devices import Device
from softdpu.controller.errors import OperatorError
from softdpu.controller.lifecycle import Lifecycle
from softdpu.datapath.client import DatapathError
from softdpu.datapath.messages import Connect

log = logging.getLogger("softdpu.connectors")
SOONEST = 0.1  # seconds between two tries, doubled after each that fails
LATEST = 2.0


class Connectors:
    """One task a device, from ``keep`` until ``let_go``."""

    def __init__(self, life: Lifecycle) -> None:
        self._life = life
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()

    def keep(self, device: Device) -> None:
        """Connect the device now, and again whenever it is alone. Nothing for one that listens itself."""
        if device.record.connects_to and device.name not in self._tasks:
            name = f"connector {device.name}"
            self._tasks[device.name] = asyncio.create_task(self._keep(device), name=name)

    async def let_go(self, device: Device) -> None:
        """No more."""
        if (task := self._tasks.pop(device.name, None)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """No more for any; what is connected stays so."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    async def reach(self, device: Device) -> None:
        """Connect once, unless that is done. Raises OperatorError: nobody listens there, or the datapath refuses."""
        async with self._turn:
            if device.alone.is_set():
                await self._reach(device)

    async def _reach(self, device: Device) -> None:
        where, link = device.record.connects_to, self._life.datapath
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as connection:
            try:
                connection.connect(where)
            except OSError as error:
                raise _NobodyThere(device, error) from error
            device.alone.clear()
            try:
                await link.ask(Connect(link.ticket(), device.number), [connection.fileno()])
            except DatapathError as error:
                device.alone.set()
                reason = str(error).rstrip(".")
                raise OperatorError(
                    error.errno, f"the datapath does not serve {where} for {device.name}: {reason}."
                ) from error

    async def _keep(self, device: Device) -> None:
        pause, said = SOONEST, ""
        while True:
            await device.alone.wait()
            try:
                await self.reach(device)
            except OperatorError as error:
                log.log(logging.DEBUG if str(error) == said else logging.INFO, "%s", error)
                pause, said = min(2 * pause, LATEST), str(error)
            else:
                log.info("%s: connected to %s", device.name, device.record.connects_to)
                pause, said = SOONEST, ""
            await asyncio.sleep(pause)  # also where it was reached: one that hangs up at once is not tried in a row


class _NobodyThere(OperatorError):
    """The VMM does not listen yet, or no longer."""

    def __init__(self, device: Device, error: OSError) -> None:
        where = device.record.connects_to
        super().__init__(
            error.errno or errno.ECONNREFUSED,
            f"{device.name} cannot connect to {where} ({error.strerror or error}); it tries on. Start the QEMU whose "
            f"chardev listens there (-chardev socket,path={where},server=on,wait=off).",
        )
