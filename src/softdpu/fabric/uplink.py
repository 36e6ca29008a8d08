"""Uplinks: a network interface of the operator's, joined to the built-in switch. There are two kinds of it.

A packet socket (packet(7)): frames go whole, those that are still to be cut into segments too, each with a
virtio_net_hdr before it. What the interface receives still reaches the DPU's own network stack as well.
XDP sockets (``softdpu.fabric.xdp``): small frames cost less, long ones are cut and summed by us, and what the interface
receives reaches the guests only.
Either way, what guests send goes out on the wire only.
"""

import asyncio
import errno
import fcntl
import os
import socket
import struct
import time

import msgspec

from softdpu.fabric import xdp
from softdpu.fabric.errors import UplinkRefused
from softdpu.fabric.namespace import inside
from softdpu.fabric.representor import Link

ETH_P_ALL = 3
ARPHRD_ETHER = 1
SIOCGIFHWADDR = 0x8927
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33  # asm-generic/socket.h
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1  # linux/if_packet.h, from here on
PACKET_AUXDATA = 8
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
PACKET_MR_PROMISC = 1
BUFFER = 8 << 20  # bytes: a burst of a hundred frames that are still to be cut
ATTEMPTS, PAUSE = 20, 0.05  # in seconds
_IFREQ = struct.Struct("16sH22x")


class Wire(msgspec.Struct):
    """The kernel's end of an uplink. Whoever gets it closes it, having handed ``descriptors`` on."""

    descriptors: list[int]
    sockets: xdp.Opened | None = None  # of XDP; None: a packet socket
    refusal: str = ""  # why it is none of XDP, where one was wanted

    def close(self) -> None:
        """Give up our descriptors."""
        if self.sockets is not None:
            self.sockets.close()
        os.close(self.descriptors[-1 if self.sockets is None else PACKETS])


class Joined(msgspec.Struct, frozen=True):
    """An uplink that is there."""

    link: Link
    queues: int = 0  # XDP sockets; 0: a packet socket
    refusal: str = ""  # why it is not of the kind that was wanted, if so

    @property
    def mode(self) -> str:
        """Its kind, as virtnet.conf names it."""
        return "af_xdp" if self.queues else "af_packet"


PACKETS = 2  # where the packet socket is among the descriptors of XDP


async def open_wire(link: Link, netns: str | None, express: bool) -> Wire:
    """XDP sockets if they are wanted and can be, else a packet socket that hears and sends everything on an interface.

    Raises UplinkRefused.
    """
    opening = asyncio.ensure_future(inside(netns, lambda: _open_wire(link, express)))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_result)  # the thread goes on, and nobody else will learn of its descriptors
        raise
    except OSError as error:
        raise UplinkRefused(link.name, error) from error


def _close_result(opening: "asyncio.Future[Wire]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _open_wire(link: Link, express: bool) -> Wire:
    if not express:
        return Wire([_open(link, hears=True)])
    promiscuous = _open(link, hears=False)
    try:
        sockets = _patiently(link)
    except OSError as error:
        os.close(promiscuous)
        return Wire([_open(link, hears=True)], refusal=str(error.strerror))
    own = [sock.fileno() for sock in sockets.sockets]
    return Wire([sockets.memory, sockets.program, promiscuous, *own], sockets)


def _patiently(link: Link) -> xdp.Opened:
    """Who had the interface before, a datapath that just ended perhaps, lets go of it a little later."""
    for _ in range(ATTEMPTS):
        try:
            return xdp.open_sockets(link)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
        time.sleep(PAUSE)
    return xdp.open_sockets(link)


def _open(link: Link, *, hears: bool) -> int:
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        _refuse_others(packets, link.name)
        for option in (PACKET_VNET_HDR, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING):
            packets.setsockopt(SOL_PACKET, option, 1)
        for option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
            packets.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        packets.bind((link.name, ETH_P_ALL if hears else 0))
        everything = struct.pack("iHH8s", link.ifindex, PACKET_MR_PROMISC, 0, b"")
        packets.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, everything)
    except OSError:
        packets.close()
        raise
    return packets.detach()


def _refuse_others(packets: socket.socket, name: str) -> None:
    answer = fcntl.ioctl(packets, SIOCGIFHWADDR, _IFREQ.pack(name.encode(), 0))
    if _IFREQ.unpack(answer)[1] != ARPHRD_ETHER:
        raise OSError(errno.EAFNOSUPPORT, "not an Ethernet interface")
