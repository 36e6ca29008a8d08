"""A tap as a file descriptor: the few ioctls that a representor needs (linux/if_tun.h)."""

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path

CLONE_DEVICE = "/dev/net/tun"

TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
TUNSETVNETHDRSZ = 0x400454D8
TUNSETVNETLE = 0x400454DC
TUNGETDEVNETNS = 0x54E3
SYS_PIDFD_GETFD = 438  # the same on every architecture

SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914  # linux/sockios.h
SIOCSIFMTU, SIOCSIFHWADDR = 0x8922, 0x8924
ARPHRD_ETHER = 1
IFF_UP = 0x0001
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
IFF_TUN_EXCL = 0x8000  # fail when the name exists, instead of taking an idle tap over

VNET_HEADER = 12  # bytes of virtio_net_hdr before each frame, as virtio 1.x has it
_LIBC = ctypes.CDLL(None, use_errno=True)
_IFREQ = struct.Struct("16sH22x")


def open_tap(name: str) -> int:
    """The non-blocking descriptor of a new tap, in the calling thread's namespace; the tap vanishes with it.

    Raises OSError: EBUSY when any interface has the name already.
    """
    descriptor = os.open(CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _set_up(descriptor, name)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def bring_up(name: str, mtu: int, mac: bytes) -> int:
    """Set MTU and address of an interface of the calling thread's namespace and take it up; its index.

    Raises OSError: ENODEV when it is not there.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:

        def set_(request: int, layout: str, *values: object) -> bytes:
            return fcntl.ioctl(any_socket, request, struct.pack(f"16s{layout}24x", name.encode(), *values)[:40])

        set_(SIOCSIFMTU, "i", mtu)
        set_(SIOCSIFHWADDR, "H6s", ARPHRD_ETHER, mac)
        (flags,) = struct.unpack_from("H", set_(SIOCGIFFLAGS, "H", 0), 16)
        set_(SIOCSIFFLAGS, "H", flags | IFF_UP)
        return socket.if_nametoindex(name)


def owner(name: str) -> str | None:
    """Who holds a descriptor of the tap ``name`` in the calling thread's namespace, such as "process 12 (ovs)".

    None: nobody whom we may look into.
    """
    here = Path("/proc/thread-self/ns/net").stat().st_ino
    for info in Path("/proc").glob("[0-9]*/fdinfo/*"):
        process = info.parent.parent
        try:
            if f"iff:\t{name}\n" in info.read_text() and _namespace(int(process.name), int(info.name)) == here:
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
        except OSError:
            continue  # the process ended, or is not ours to look into
    return None


def _namespace(process: int, descriptor: int) -> int:
    """Inode of the namespace of a tap that another process holds. Raises OSError."""
    handle = os.pidfd_open(process)
    try:
        copy = _LIBC.syscall(SYS_PIDFD_GETFD, handle, descriptor, 0)
        if copy < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
    finally:
        os.close(handle)
    try:
        namespace = fcntl.ioctl(copy, TUNGETDEVNETNS)
    finally:
        os.close(copy)
    try:
        return os.fstat(namespace).st_ino
    finally:
        os.close(namespace)


def _set_up(descriptor: int, name: str) -> None:
    request = _IFREQ.pack(name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL)
    fcntl.ioctl(descriptor, TUNSETIFF, request)
    fcntl.ioctl(descriptor, TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER))
    fcntl.ioctl(descriptor, TUNSETVNETLE, struct.pack("i", 1))
    fcntl.ioctl(descriptor, TUNSETOFFLOAD, 0)
