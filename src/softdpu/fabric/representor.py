"""Representors: the netdev at the DPU's end of a function, a tap in the namespace that the operator chose.

A representor lives as long as somebody holds its descriptor, which is the datapath. A controller that starts anew finds
it by its name. Everything here is asynchronous and leaves the process in its own namespace.
"""

import asyncio
import errno
import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, NoReturn

import msgspec
from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST  # type: ignore[import-untyped]
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_NEWLINK  # type: ignore[import-untyped]
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
    return (await create_all([(name, mtu)], netns))[0]


async def create_all(wanted: Sequence[tuple[str, int]], netns: str | None) -> list[Representor]:
    """Makes representors of these names and MTUs: all of them, or none. Raises a FabricError."""
    for name, _ in wanted:
        if not _NAME.fullmatch(name) or name in {".", ".."}:
            raise BadInterfaceName(name)
    making = asyncio.ensure_future(inside(netns, lambda: _make_all(wanted, netns)))
    try:
        made = await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(_close_result)  # the thread goes on, and nobody else will learn of its descriptors
        raise
    if isinstance(made, _Failure):
        await _refuse(made, netns)
    return made


async def find(name: str, netns: str | None) -> Link | None:
    """The interface of that name as it is now, or None."""
    async with netlink(netns) as routes:
        return await _look_up(routes, name)


async def find_all(netns: str | None) -> dict[str, Link]:
    """Every interface of the namespace by its name."""
    async with netlink(netns) as routes:
        links = [link_of(message) async for message in await routes.link("dump")]
    return {link.name: link for link in links}


async def delete(name: str, netns: str | None) -> None:
    """Ends a representor although somebody may hold its descriptor. One that is gone already is no error."""
    async with netlink(netns) as routes, _errors(name, netns, "deleting it"):
        if link := await _look_up(routes, name):
            await routes.link("del", index=link.ifindex)


async def delete_all(names: Iterable[str], netns: str | None) -> None:
    """Ends representors although somebody may hold their descriptors. Those that are gone already are no error.

    One by one the kernel waits some 20 ms for each. So they get a group of their own, which goes as one.
    """
    async with netlink(netns) as routes:
        messages = [message async for message in await routes.link("dump")]
        wanted = set(names)
        found = [message["index"] for message in messages if message.get("ifname") in wanted]
        taken = {message.get("group") for message in messages}
        group = next(number for number in iter(lambda: secrets.randbelow(1 << 31), 0) if number not in taken)
        gone = 0
        for index in found:
            with suppress(NetlinkError):  # it has gone meanwhile
                await routes.link("set", index=index, group=group)
                gone += 1
        if gone:
            await _delete_group(routes, group)


async def _delete_group(routes: Netlink, group: int) -> None:
    message = ifinfmsg()
    message["attrs"] = [("IFLA_GROUP", group)]
    try:
        _ = [reply async for reply in await routes.nlm_request(message, RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK)]
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise RepresentorRefused("the group", "deleting them", OSError(error.code, str(error))) from error


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


class _Failure(NamedTuple):
    """Which representor could not be made, and at which step."""

    name: str
    what: str
    error: OSError


def _make_all(wanted: Sequence[tuple[str, int]], netns: str | None) -> "list[Representor] | _Failure":
    """In a thread that is in the namespace. What was made is undone when one fails."""
    made: list[Representor] = []
    for name, mtu in wanted:
        result = _make(name, mtu, netns)
        if isinstance(result, _Failure):
            _close_all(made)
            return result
        made.append(result)
    return made


def _make(name: str, mtu: int, netns: str | None) -> Representor | _Failure:
    try:
        descriptor = tap.open_tap(name)
    except OSError as error:
        return _Failure(name, "making the tap", error)
    try:
        mac = bytes.fromhex(stable_mac(name, netns).replace(":", ""))
        return Representor(name, descriptor, tap.bring_up(name, mtu, mac))
    except OSError as error:
        os.close(descriptor)
        return _Failure(name, f"setting it up with MTU {mtu}", error)


def _close_all(made: Iterable[Representor]) -> None:
    for representor in made:
        os.close(representor.fd)


async def _refuse(failure: _Failure, netns: str | None) -> NoReturn:
    if failure.error.errno == errno.EBUSY:
        raise NameTaken(failure.name, place(netns), await _owner(failure.name, netns)) from failure.error
    if failure.error.errno == errno.ENODEV:
        raise RepresentorNotFound(failure.name, place(netns)) from failure.error
    raise RepresentorRefused(failure.name, failure.what, failure.error) from failure.error


def _close_result(making: "asyncio.Future[list[Representor] | _Failure]") -> None:
    if not making.cancelled() and making.exception() is None and isinstance(made := making.result(), list):
        _close_all(made)


async def _owner(name: str, netns: str | None) -> str:
    link = await find(name, netns)
    if link is None:
        return "it is just going"
    if link.kind != "tun":
        return f"a {link.kind or 'real'} interface"
    return await inside(netns, lambda: tap.owner(name)) or "a tap that no process holds"


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
