"""Representors: the netdev at the DPU's end of a function, a tap in the namespace that the operator chose.

A representor lives as long as somebody holds its descriptor, which is the datapath. A controller that starts anew finds
it by its name. Everything here is asynchronous and leaves the process in its own namespace.
"""

import asyncio
import errno
import hashlib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST  # type: ignore[import-untyped]
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl import RTM_NEWLINK  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]

from softdpu.fabric import tap
from softdpu.fabric.errors import BadInterfaceName, NameTaken, RepresentorNotFound, RepresentorRefused
from softdpu.fabric.namespace import Netlink, inside, netlink, place

_NAME = re.compile(r"[!-.0-9;-~]{1,15}")  # linux/netdevice.h dev_valid_name: no '/', ':' or white space
IFF_UP = 1


class Representor(msgspec.Struct, frozen=True):
    """A new representor. Whoever gets ``fd`` closes it; the last one that does ends the representor."""

    name: str
    fd: int
    ifindex: int


class Link(msgspec.Struct, frozen=True):
    """A representor as netlink sees it."""

    name: str
    ifindex: int
    mac: str
    mtu: int
    up: bool  # administratively
    carrier: bool
    master: int | None  # ifindex of the bridge or OVS datapath that it is enslaved to
    kind: str | None  # "tun" for a tap


class Statistics(msgspec.Struct, frozen=True):
    """What the kernel counts: received is what came out of the function, as seen from the DPU."""

    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int


def stable_mac(name: str, netns: str | None) -> str:
    """A locally administered unicast address that is the same each time the representor is made."""
    octets = bytearray(hashlib.sha256(f"{netns or ''}/{name}".encode()).digest()[:6])
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


async def create(name: str, netns: str | None, mtu: int) -> Representor:
    """Makes a representor, sets its address and MTU (68 to 65521 bytes) and its link up.

    Raises a FabricError; nothing is left behind then.
    """
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise BadInterfaceName(name)
    descriptor = await _open(name, netns)
    try:
        ifindex = await _bring_up(name, netns, mtu)
    except BaseException:
        os.close(descriptor)
        raise
    return Representor(name, descriptor, ifindex)


async def find(name: str, netns: str | None) -> Link | None:
    """The interface of that name as it is now, or None."""
    async with netlink(netns) as routes:
        return await _look_up(routes, name)


async def delete(name: str, netns: str | None) -> None:
    """Ends a representor although somebody may hold its descriptor. One that is gone already is no error."""
    async with netlink(netns) as routes, _errors(name, netns, "deleting it"):
        if link := await _look_up(routes, name):
            await routes.link("del", index=link.ifindex)


async def set_mtu(name: str, netns: str | None, mtu: int) -> None:
    """Sets the MTU in bytes."""
    async with _found(name, netns, f"setting MTU {mtu}") as (routes, link):
        await routes.link("set", index=link.ifindex, mtu=mtu)


async def set_carrier(name: str, netns: str | None, up: bool) -> None:
    """Shows the function's link state as the representor's carrier."""
    async with _found(name, netns, f"setting carrier {'on' if up else 'off'}") as (routes, link):
        # pyroute2's link() drops the carrier from what it sets, so the message is made here.
        message = ifinfmsg()
        message["index"] = link.ifindex
        message["attrs"] = [("IFLA_CARRIER", int(up))]
        _ = [reply async for reply in await routes.nlm_request(message, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK)]


async def statistics(name: str, netns: str | None) -> Statistics:
    """The kernel's counters of a representor."""
    async with _found(name, netns, "reading its counters") as (routes, link):
        answer = (await routes.link("get", index=link.ifindex))[0]
        counters = answer.get("stats64")
        return Statistics(**{field: counters[field] for field in Statistics.__struct_fields__})


async def _open(name: str, netns: str | None) -> int:
    opening = asyncio.ensure_future(inside(netns, lambda: tap.open_tap(name)))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_result)  # the thread goes on, and nobody else will learn of its descriptor
        raise
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise NameTaken(name, place(netns), await _owner(name, netns)) from error
        raise RepresentorRefused(name, "making the tap", error) from error


def _close_result(opening: "asyncio.Future[int]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result())


async def _owner(name: str, netns: str | None) -> str:
    link = await find(name, netns)
    if link is None:
        return "it is just going"
    if link.kind != "tun":
        return f"a {link.kind or 'real'} interface"
    return await inside(netns, lambda: tap.owner(name)) or "a tap that no process holds"


async def _bring_up(name: str, netns: str | None, mtu: int) -> int:
    async with _found(name, netns, f"setting it up with MTU {mtu}") as (routes, link):
        await routes.link("set", index=link.ifindex, mtu=mtu, address=stable_mac(name, netns))
        await routes.link("set", index=link.ifindex, state="up")
        return link.ifindex


@asynccontextmanager
async def _found(name: str, netns: str | None, what: str) -> AsyncIterator[tuple[Netlink, Link]]:
    async with netlink(netns) as routes, _errors(name, netns, what):
        link = await _look_up(routes, name)
        if link is None:
            raise RepresentorNotFound(name, place(netns))
        yield routes, link


@asynccontextmanager
async def _errors(name: str, netns: str | None, what: str) -> AsyncIterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            raise RepresentorNotFound(name, place(netns)) from error
        raise RepresentorRefused(name, what, OSError(error.code, str(error))) from error


async def _look_up(routes: Netlink, name: str) -> Link | None:
    try:
        answer = await routes.link("get", ifname=name)
    except NetlinkError as error:
        if error.code in {errno.ENODEV, errno.EINVAL}:
            return None
        raise
    return link_of(answer[0])


def link_of(message: Any) -> Link:
    """A link message of netlink (RTM_NEWLINK) as data."""
    return Link(
        name=message.get("ifname"),
        ifindex=message["index"],
        mac=message.get("address") or "",
        mtu=message.get("mtu") or 0,
        up=bool(message["flags"] & IFF_UP),
        carrier=bool(message.get("carrier")),
        master=message.get("master") or None,
        kind=message.get(("linkinfo", "kind")),
    )
