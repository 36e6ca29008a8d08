"""XDP sockets (AF_XDP): frames between an interface's driver and memory of ours, past the kernel's network stack.

The datapath has no privilege, so all that takes some is done here, and it is handed the descriptors. Zero-copy is the
kernel's choice: where the driver has none, it copies.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import socket
import struct
from typing import NoReturn

from softdpu.fabric import bpf
from softdpu.fabric.representor import Link

AF_XDP = 44
SOL_XDP = 283
XDP_RX_RING, XDP_TX_RING, XDP_UMEM_REG = 2, 3, 4  # linux/if_xdp.h, from here on
XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING = 5, 6
XDP_OPTIONS = 8
XDP_OPTIONS_ZEROCOPY = 1
XDP_USE_NEED_WAKEUP = 1 << 3
XDP_USE_SG = 1 << 4
XDP_PACKET_HEADROOM = 256
SO_SNDBUFFORCE = 32  # asm-generic/socket.h
SNDBUF = 8 << 20  # bytes

COUNT = 2048  # entries of each ring
CHUNK = 2048  # bytes: a frame of 1518 in one, a jumbo frame in five
MOST_QUEUES = 8
VIRTUAL = {"veth"}  # interfaces whose other end leaves checksums undone

SIOCETHTOOL = 0x8946
ETHTOOL_GFLAGS = 0x25  # linux/ethtool.h
ETH_FLAG_RXVLAN = 1 << 8

_ETHTOOL = struct.Struct("II")
_IFREQ = struct.Struct("16sQ16x")
_UMEM = struct.Struct("QQIIII")
_ADDRESS = struct.Struct("HHIII")
_LIBC = ctypes.CDLL(None, use_errno=True)


class Refused(OSError):
    """An interface that cannot have XDP sockets; the text says why, in words."""


class Opened:
    """XDP sockets of all queues of an interface, their memory and the program; whoever opened it closes it."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.memory = -1
        self.program = -1
        self.sockets: list[socket.socket] = []
        self.several = True  # frames may take several chunks
        self.zero_copy = False

    @property
    def undone(self) -> bool:
        """Whether frames come whose checksum the sender left to others."""
        return self.link.kind in VIRTUAL

    def close(self) -> None:
        """Give up our descriptors."""
        for sock in self.sockets:
            sock.close()
        for descriptor in (self.program, self.memory):
            if descriptor >= 0:
                os.close(descriptor)


def open_sockets(link: Link) -> Opened:
    """XDP sockets on all queues of an interface of the calling thread's namespace. Raises OSError, mostly Refused."""
    opened = Opened(link)
    try:
        _open(opened)
    except OSError:
        opened.close()
        raise
    return opened


def _open(opened: Opened) -> None:
    _bind_all(opened)
    if not opened.several and opened.link.mtu + 18 > CHUNK - XDP_PACKET_HEADROOM:
        _refuse(errno.EMSGSIZE, f"frames of MTU {opened.link.mtu} take Linux 6.6 or later")
    sockets = {queue: sock.fileno() for queue, sock in enumerate(opened.sockets)}
    tags = _takes_tags_out(opened)
    try:
        opened.program = bpf.attach(opened.link.ifindex, sockets, tags=tags)
    except OSError as error:
        _refuse(error.errno, ATTACHING.get(error.errno or 0, f"the XDP program is refused: {error.strerror}"))
    options = opened.sockets[0].getsockopt(SOL_XDP, XDP_OPTIONS, 4)
    opened.zero_copy = bool(int.from_bytes(options, "little") & XDP_OPTIONS_ZEROCOPY)


def _takes_tags_out(opened: Opened) -> bool:
    """Whether VLAN tags are to be put back. A virtual interface can tell of them; of hardware too few drivers can."""
    request = _ETHTOOL.pack(ETHTOOL_GFLAGS, 0)
    buffer = ctypes.create_string_buffer(request, len(request))
    name = opened.link.name
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asks:
        fcntl.ioctl(asks, SIOCETHTOOL, _IFREQ.pack(name.encode(), ctypes.addressof(buffer)))
    if not _ETHTOOL.unpack(buffer.raw)[1] & ETH_FLAG_RXVLAN:
        return False
    if not opened.undone:
        _refuse(errno.EOPNOTSUPP, f"it takes VLAN tags out of frames: `ethtool -K {name} rxvlan off`")
    if not bpf.knows_tags():
        _refuse(errno.ENOSYS, "it takes VLAN tags out of frames, and only Linux 6.8 and later tells of them")
    return True


ATTACHING = {
    errno.EOPNOTSUPP: "its driver has no XDP",
    errno.EBUSY: "it has another XDP program: `ip link show` names it",
    errno.EPERM: "that takes root (CAP_BPF, CAP_NET_ADMIN)",
    errno.ERANGE: "its MTU is too large for its driver's XDP",
    errno.ENOSYS: "the kernel has no BPF here",
}


def _bind_all(opened: Opened) -> None:
    """One socket a queue: there is none beyond the last, which is how their number shows."""
    opened.memory = os.memfd_create("uplink", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        while _bind_next(opened):
            pass
    except OSError as error:
        _refuse(error.errno, BINDING.get(error.errno or 0, f"an XDP socket is refused: {error.strerror}"))
    os.ftruncate(opened.memory, len(opened.sockets) * _size())
    fcntl.fcntl(opened.memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)


BINDING = {
    errno.EAFNOSUPPORT: "the kernel has no XDP sockets (CONFIG_XDP_SOCKETS)",
    errno.EBUSY: "another program has XDP sockets on it",
    errno.EPERM: "that takes root (CAP_NET_RAW, CAP_IPC_LOCK)",
    errno.ENOBUFS: "the limit of locked memory is too low (ulimit -l)",
    errno.EINVAL: "the kernel knows no such XDP sockets",
}


def _bind_next(opened: Opened) -> bool:
    queue = len(opened.sockets)
    os.ftruncate(opened.memory, (queue + 1) * _size())
    sock = _socket(opened.memory, queue * _size())
    try:
        opened.several = _bind(sock, opened.link.ifindex, queue, several=opened.several)
    except OSError as error:
        sock.close()
        if error.errno == errno.EINVAL and queue > 0:
            return False
        raise
    opened.sockets.append(sock)
    if len(opened.sockets) > MOST_QUEUES:
        name = opened.link.name
        _refuse(errno.E2BIG, f"it has more than {MOST_QUEUES} queues: `ethtool -L {name} combined {MOST_QUEUES}`")
    return True


def _size() -> int:
    return 2 * COUNT * CHUNK


def _socket(memory: int, offset: int) -> socket.socket:
    """A socket with its rings and its part of the memory."""
    sock = socket.socket(AF_XDP, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        with contextlib.closing(mmap.mmap(memory, _size(), offset=offset)) as part:
            anchor = ctypes.c_char.from_buffer(part)
            umem = _UMEM.pack(ctypes.addressof(anchor), _size(), CHUNK, 0, 0, 0)
            sock.setsockopt(SOL_XDP, XDP_UMEM_REG, umem)  # the kernel keeps the pages, whatever we map
            del anchor
        for ring in (XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING):
            sock.setsockopt(SOL_XDP, ring, struct.pack("I", COUNT))
        sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SNDBUF)
    except OSError:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, ifindex: int, queue: int, *, several: bool) -> bool:
    """Whether frames may take several chunks, as they may since Linux 6.6."""
    for flags in (XDP_USE_SG, 0) if several else (0,):
        address = _ADDRESS.pack(AF_XDP, XDP_USE_NEED_WAKEUP | flags, ifindex, queue, 0)
        if _LIBC.bind(sock.fileno(), address, len(address)) == 0:
            return bool(flags)
        number = ctypes.get_errno()
        if number != errno.EINVAL:
            break
    raise OSError(number, os.strerror(number))


def _refuse(number: int | None, why: str) -> NoReturn:
    raise Refused(number, why)
