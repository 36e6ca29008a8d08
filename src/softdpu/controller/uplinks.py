"""The uplinks of virtnet.conf: joined to the built-in switch when their interface is there, and as long as it is."""

import asyncio
import logging
import os
from typing import Any

import msgspec

from softdpu.controller.errors import OperatorError
from softdpu.controller.lifecycle import Lifecycle
from softdpu.datapath import ledger
from softdpu.datapath.client import DatapathError
from softdpu.datapath.messages import ChangeSwitch, ChangeUplink, JoinUplink, LeaveUplink
from softdpu.fabric import representor, uplink
from softdpu.fabric.errors import FabricError
from softdpu.fabric.representor import Link

log = logging.getLogger("softdpu.uplinks")


class Uplinks:
    """Follows the interfaces; whatever happens to one is a line in the log, and never the end of anything."""

    def __init__(self, life: Lifecycle, configured: dict[int, str], flooding: bool) -> None:
        self.life = life
        self.configured = configured  # interface by uplink number
        self.flooding = flooding
        self.joined = life.uplinks
        self._missed: set[int] = set()  # those whose absence was told
        self._turn = asyncio.Lock()
        self._ready = False  # the datapath's uplinks are known

    async def start(self) -> None:
        """Bring a datapath, fresh or not, to what is configured."""
        link = self.life.datapath
        for number, known in link.uplinks.items():
            if known.interface == self.configured.get(number):
                self.joined[number] = Link(known.interface, known.ifindex, "", 0, False, False, None, None)
            else:
                await self._tell(LeaveUplink(link.ticket(), number))
        await self._tell(ChangeSwitch(link.ticket(), self.flooding))
        self._ready = True
        await self.follow(*self.configured.values())

    async def follow(self, *names: str) -> None:
        """See how the interfaces of these names are now. Those that are no uplinks do not matter."""
        async with self._turn:
            for number in [number for number, name in self.configured.items() if self._ready and name in names]:
                try:
                    await self._follow(number)
                except (FabricError, OperatorError, OSError) as error:
                    log.warning("uplink p%d: %s", number, error)

    async def _follow(self, number: int) -> None:
        name = self.configured[number]
        found, known = await representor.find(name, self.life.netns), self.joined.get(number)
        if found is None:
            await self._gone(number, name)
        elif known is None or known.ifindex != found.ifindex:
            await self._join(number, found)
        elif known != found:
            await self._change(number, found)

    async def _gone(self, number: int, name: str) -> None:
        if self.joined.pop(number, None) is not None:
            await self._tell(LeaveUplink(self.life.datapath.ticket(), number))
        if number not in self._missed:
            self._missed.add(number)
            log.warning(
                "uplink p%d: there is no interface %s; guests reach nothing outside until it is there.", number, name
            )

    async def _join(self, number: int, found: Link) -> None:
        self.joined.pop(number, None)
        descriptor = await uplink.open_packets(found, self.life.netns)
        try:
            ticket = self.life.datapath.ticket()
            join = JoinUplink(ticket, number, found.name, found.ifindex, found.mtu, _passes(found))
            done = await self._tell(join, descriptor)
        finally:
            os.close(descriptor)
        if done:
            self.joined[number] = found
            self._missed.discard(number)
            log.info("uplink p%d: %s has joined, MTU %d, %s", number, found.name, found.mtu, _state(found))

    async def _change(self, number: int, found: Link) -> None:
        if await self._tell(ChangeUplink(self.life.datapath.ticket(), number, found.mtu, _passes(found))):
            self.joined[number] = found
            log.info("uplink p%d: %s has MTU %d, %s", number, found.name, found.mtu, _state(found))

    async def _tell(self, message: JoinUplink | ChangeUplink | LeaveUplink | ChangeSwitch, *descriptors: int) -> bool:
        try:
            await self.life.datapath.ask(message, descriptors)
        except DatapathError as error:
            log.warning("%s", error)
            return False
        return True


def listing(life: Lifecycle) -> list[dict[str, Any]]:
    """The uplinks that are there, as ``virtnet health`` shows them."""
    if life.link is None:
        return []
    return [
        {
            "name": f"p{number}",
            "interface": link.name,
            "passes": int(_passes(link)),
            "mtu": link.mtu,
            "frames": msgspec.to_builtins(ledger.of_port(life.link.uplink_counters(number))),
        }
        for number, link in sorted(life.uplinks.items())
    ]


def _passes(link: Link) -> bool:
    return link.up and link.carrier


def _state(link: Link) -> str:
    return "up" if _passes(link) else "without carrier" if link.up else "down"
