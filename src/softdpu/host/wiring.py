"""The connections of QEMU's own functions to our vhost-user back ends: laid before a function is plugged, taken up
after it has left."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from softdpu.host import vhost_user
from softdpu.host.errors import HostError, HostGone, HostRefused, SocketUnreachable
from softdpu.host.quirks import Version
from softdpu.net.state import FunctionConfig

logger = logging.getLogger(__name__)

Reach = Callable[[], Awaitable[None]]
Execute = Callable[[str, Mapping[str, object]], Awaitable[Any]]


class Wiring:
    """Those of one QEMU. ``execute(command, arguments)`` sends a QMP command and raises a HostError."""

    def __init__(self, host: str, execute: Execute) -> None:
        self._host = host
        self._execute = execute

    async def lay(
        self, device_id: str, socket: Path, config: FunctionConfig, version: Version, reach: Reach | None = None
    ) -> None:
        """Connects QEMU to the back end that listens at ``socket``, or has it listen there while ``reach`` connects.

        Raises a HostError or what ``reach`` raises; nothing is left behind then.
        """
        name = vhost_user.chardev_id(device_id)
        if reach is None:
            await self._probe(device_id, socket)
            await self._execute("chardev-add", vhost_user.chardev(name, socket, version))
        else:
            await self._execute("chardev-add", vhost_user.listener(name, socket))
        try:
            if reach is not None:
                await reach()  # first: QEMU stands still in netdev_add until somebody has connected
            await self._execute("netdev_add", vhost_user.netdev(device_id, config))
        except BaseException:
            await self.take_up(device_id)
            raise

    async def _probe(self, device_id: str, socket: Path) -> None:
        """A connection that tries for ever would block QEMU where it cannot reach the socket: one that tries once."""
        name = f"{device_id}-probe"
        try:
            await self._execute("chardev-add", vhost_user.chardev(name, socket, None))
        except HostRefused as error:
            if "Failed to connect" in error.description:
                raise SocketUnreachable(error.host, socket, error.description) from error
            raise
        await self._execute("chardev-remove", {"id": name})

    async def take_up(self, device_id: str) -> None:
        """Removes back end and connection of a device that is not there (any more). What is gone is no error."""
        for command, name in (
            ("netdev_del", vhost_user.netdev_id(device_id)),
            ("chardev-remove", vhost_user.chardev_id(device_id)),
        ):
            try:
                await self._execute(command, {"id": name})
            except HostRefused as error:
                if "not found" not in error.description:
                    logger.warning("host %s: %s stays behind: %s", self._host, name, error)
            except HostGone:
                return
            except HostError as error:
                logger.warning("host %s: %s may stay behind: %s", self._host, name, error)
