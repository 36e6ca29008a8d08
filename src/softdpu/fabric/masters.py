"""Which interfaces of a namespace are enslaved to a bridge or an OVS datapath, as it changes.

A representor in a bridge is the bridge's port: the built-in switch must then leave its function alone. The kernel's
notifications can be lost when they come too fast (ENOBUFS); the watch then opens anew and reads everything again.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

from pyroute2.netlink import NetlinkError  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl import RTMGRP_LINK  # type: ignore[import-untyped]

from softdpu.fabric.namespace import Netlink, netlink
from softdpu.fabric.representor import link_of

logger = logging.getLogger(__name__)

RETRY = 0.2  # seconds until a lost watch is opened again


class Masters:
    """Calls ``changed(name, enslaved)`` in the event loop for each interface whose master comes or goes.

    ``start`` reports the interfaces that have a master already. ``touched(names)`` is called with each interface that
    came, went or changed in any way, under its old and its new name. The callbacks must not raise.
    """

    def __init__(
        self, netns: str | None, changed: Callable[[str, bool], None], touched: Callable[[set[str]], None] | None = None
    ) -> None:
        self.netns = netns
        self._changed = changed
        self._touched = touched or (lambda _: None)
        self._names: dict[int, str] = {}  # by ifindex, of all interfaces
        self._enslaved: dict[int, str] = {}  # ifindex to name, of those that have a master
        self._task: asyncio.Task[None] | None = None

    def enslaved(self, name: str) -> bool:
        """Whether the interface has a master, as far as is known."""
        return name in self._enslaved.values()

    async def start(self) -> None:
        """Begins to watch; returns when the present state is known. Raises NamespaceNotFound or NamespaceRefused."""
        ready = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._watch_always(ready), name="masters")
        await asyncio.wait([ready, self._task], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            await self._task

    async def stop(self) -> None:
        """Ends the watch."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _watch_always(self, ready: "asyncio.Future[None]") -> None:
        while True:
            try:
                await self._watch(ready)
            except (OSError, NetlinkError) as error:
                if not ready.done():
                    raise
                logger.info("the watch of masters was interrupted (%s) and opens again", error)
                await asyncio.sleep(RETRY)

    async def _watch(self, ready: "asyncio.Future[None]") -> None:
        async with netlink(self.netns) as events, netlink(self.netns) as routes:
            await events.bind(RTMGRP_LINK)  # before reading the state, so that no change falls in between
            await self._read_all(routes)
            if not ready.done():
                ready.set_result(None)
            while True:
                async for message in events.get():
                    self._take(message)

    async def _read_all(self, routes: Netlink) -> None:
        seen = [message async for message in await routes.link("dump")]
        gone = self._names.keys() - {message["index"] for message in seen}
        self._touched({self._names.pop(index) for index in gone})
        for index in self._enslaved.keys() - {message["index"] for message in seen}:
            self._set(index, self._enslaved[index], enslaved=False)
        for message in seen:
            self._take(message)

    def _take(self, message: Netlink) -> None:
        # A bridge tells its ports' changes a second time in its own address family: those speak of the port.
        if message["family"] != socket.AF_UNSPEC or message["event"] not in {"RTM_NEWLINK", "RTM_DELLINK"}:
            return
        link = link_of(message)
        there = message["event"] == "RTM_NEWLINK"
        self._touched({link.name, self._names.pop(link.ifindex, link.name)})
        if there:
            self._names[link.ifindex] = link.name
        self._set(link.ifindex, link.name, enslaved=there and link.master is not None)

    def _set(self, index: int, name: str, *, enslaved: bool) -> None:
        if enslaved == (index in self._enslaved):
            return
        if enslaved:
            self._enslaved[index] = name
        else:
            del self._enslaved[index]
        self._changed(name, enslaved)
