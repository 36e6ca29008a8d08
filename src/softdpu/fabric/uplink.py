"""Uplinks: a network interface of the operator's, joined to the built-in switch by a packet socket (packet(7)).

Frames go whole, those that are still to be cut into segments too: each has a virtio_net_hdr before it. What the
interface receives still reaches the DPU's own network stack as well; what guests send goes out on the wire only.
"""

import asyncio
import errno
import fcntl
import os
import socket
import struct

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
_IFREQ = struct.Struct("16sH22x")


async def open_packets(link: Link, netns: str | None) -> int:
    """A packet socket that hears and sends everything on an interface, not blocking. Raises UplinkRefused."""
    opening = asyncio.ensure_future(inside(netns, lambda: _open(link)))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_result)  # the thread goes on, and nobody else will learn of its descriptor
        raise
    except OSError as error:
        raise UplinkRefused(link.name, error) from error


def _close_result(opening: "asyncio.Future[int]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result())


def _open(link: Link) -> int:
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        _refuse_others(packets, link.name)
        for option in (PACKET_VNET_HDR, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING):
            packets.setsockopt(SOL_PACKET, option, 1)
        for option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
            packets.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        packets.bind((link.name, ETH_P_ALL))
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
