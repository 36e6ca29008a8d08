"""The uplinks of virtnet.conf: joined to the built-in switch when their interface is there, and as long as it is."""

import asyncio
import logging
from typing import Any

import msgspec

from softdpu.controller.errors import OperatorError
from softdpu.controller.lifecycle import Lifecycle
from softdpu.datapath import ledger
from softdpu.datapath.client import DatapathError
from softdpu.datapath.messages import ChangeSwitch, ChangeUplink, JoinUplink, LeaveUplink, XdpSockets
from softdpu.fabric import representor, uplink, xdp
from softdpu.fabric.errors import FabricError
from softdpu.fabric.representor import Link
from softdpu.fabric.uplink import Joined
from softdpu.fabric.wanted import Wanted

log = logging.getLogger("softdpu.uplinks")


class Uplinks:
    """Follows the interfaces; whatever happens to one is a line in the log, and never the end of anything."""

    def __init__(self, life: Lifecycle, configured: dict[int, Wanted], flooding: bool) -> None:
        self.life = life
        self.configured = configured  # by uplink number
        self.flooding = flooding
        self.joined = life.uplinks
        self._missed: set[int] = set()  # those whose absence was told
        self._turn = asyncio.Lock()
        self._ready = False  # the datapath's uplinks are known

    async def start(self) -> None:
        """Bring a datapath, fresh or not, to what is configured."""
        link = self.life.datapath
        for number, known in link.uplinks.items():
            wanted = self.configured.get(number)
            if wanted and (known.interface, known.queues > 0) == (wanted.interface, wanted.express):
                link_then = Link(known.interface, known.ifindex, "", 0, False, False, None, None)
                self.joined[number] = Joined(link_then, known.queues)
            else:
                await self._tell(LeaveUplink(link.ticket(), number))
        await self._tell(ChangeSwitch(link.ticket(), self.flooding))
        self._ready = True
        await self.follow(*(wanted.interface for wanted in self.configured.values()))

    async def follow(self, *names: str) -> None:
        """See how the interfaces of these names are now. Those that are no uplinks do not matter."""
        async with self._turn:
            for number in [n for n, wanted in self.configured.items() if self._ready and wanted.interface in names]:
                try:
                    await self._follow(number)
                except (FabricError, OperatorError, OSError) as error:
                    log.warning("uplink p%d: %s", number, error)

    async def _follow(self, number: int) -> None:
        name = self.configured[number].interface
        found, known = await representor.find(name, self.life.netns), self.joined.get(number)
        if found is None:
            await self._gone(number, name)
        elif known is None or known.link.ifindex != found.ifindex:
            await self._join(number, found)
        elif known.link != found:
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
        wire = await uplink.open_wire(found, self.life.netns, self.configured[number].express)
        try:
            join = JoinUplink(
                ticket=self.life.datapath.ticket(),
                uplink=number,
                interface=found.name,
                ifindex=found.ifindex,
                mtu=found.mtu,
                up=_passes(found),
                xdp=_layout(wire.sockets) if wire.sockets else None,
            )
            done = await self._tell(join, *wire.descriptors)
        finally:
            wire.close()
        if done:
            self.joined[number] = Joined(found, len(wire.sockets.sockets) if wire.sockets else 0, wire.refusal)
            self._missed.discard(number)
            _tell_joined(number, self.joined[number], zero_copy=bool(wire.sockets and wire.sockets.zero_copy))

    async def _change(self, number: int, found: Link) -> None:
        if await self._tell(ChangeUplink(self.life.datapath.ticket(), number, found.mtu, _passes(found))):
            self.joined[number] = msgspec.structs.replace(self.joined[number], link=found)
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
            "interface": joined.link.name,
            "mode": joined.mode,
            **({"refused": joined.refusal} if joined.refusal else {}),
            "passes": int(_passes(joined.link)),
            "mtu": joined.link.mtu,
            "frames": msgspec.to_builtins(ledger.of_port(life.link.uplink_counters(number))),
        }
        for number, joined in sorted(life.uplinks.items())
    ]


def _layout(sockets: xdp.Opened) -> XdpSockets:
    return XdpSockets(xdp.COUNT, xdp.CHUNK, sockets.several, sockets.undone)


def _tell_joined(number: int, joined: Joined, *, zero_copy: bool) -> None:
    link = joined.link
    if joined.refusal:
        log.warning("uplink p%d: %s cannot have AF_XDP: %s. AF_PACKET it is.", number, link.name, joined.refusal)
    copies = ", zero-copy" if zero_copy else ""
    kind = f"AF_XDP on {joined.queues} queue{'s' * (joined.queues > 1)}{copies}" if joined.queues else "AF_PACKET"
    log.info("uplink p%d: %s has joined by %s, MTU %d, %s", number, link.name, kind, link.mtu, _state(link))


def _passes(link: Link) -> bool:
    return link.up and link.carrier


def _state(link: Link) -> str:
    return "up" if _passes(link) else "without carrier" if link.up else "down"
