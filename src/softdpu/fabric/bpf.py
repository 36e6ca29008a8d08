"""The XDP program of an uplink and its map, by bpf(2): what comes on a queue goes to the XDP socket of that queue.

A few instructions, so nothing is compiled and nothing is loaded from a file. A frame of a queue that has no socket goes
to the kernel as before. Program and map live as long as the link that attaches them, and that as long as somebody holds
its descriptor: when the last holder ends, however it ends, the interface has no program any more.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Mapping

from softdpu.fabric import btf

SYS_BPF = {"x86_64": 321, "aarch64": 280}
BPF_MAP_CREATE, BPF_MAP_UPDATE_ELEM, BPF_PROG_LOAD, BPF_LINK_CREATE = 0, 2, 5, 28  # linux/bpf.h, from here on
BPF_MAP_TYPE_XSKMAP = 17
BPF_PROG_TYPE_XDP = 6
BPF_XDP = 37
BPF_F_XDP_HAS_FRAGS, BPF_F_XDP_DEV_BOUND_ONLY = 1 << 5, 1 << 6
ADJUST_HEAD, REDIRECT_MAP = 44, 51  # BPF_FUNC_*
MAP_BY_DESCRIPTOR, KERNEL_FUNCTION = 1, 2  # BPF_PSEUDO_*
VLAN_TAG = "bpf_xdp_metadata_rx_vlan_tag"  # since Linux 6.8
XDP_FLAGS_DRV_MODE = 1 << 2  # linux/if_link.h
XDP_DROP, XDP_PASS = 1, 2
DATA, DATA_END, QUEUE = 0, 4, 16  # in struct xdp_md

# Operations: of words and half-words, from memory and to it; of registers; jumps that look at a register.
_LOAD, _STORE, _LOAD_HALF, _STORE_HALF, _STORE_ZERO = 0x61, 0x63, 0x69, 0x6B, 0x7A
_COPY, _SET, _ADD, _BIG_ENDIAN, _WIDE = 0xBF, 0xB7, 0x07, 0xDC, 0x18
_IF_NOT, _IF_NOT_ABOVE, _CALL, _EXIT = 0x55, 0xBD, 0x85, 0x95
_STACK = 10  # the register that points behind it

_MAP = struct.Struct("5I44x")
_ELEMENT = struct.Struct("I4xQQQ")
_PROGRAM = struct.Struct("IIQQ16xII16sII4x")
_LINK = struct.Struct("IIII")
_INSTRUCTION = struct.Struct("BBhi")
_LIBC = ctypes.CDLL(None, use_errno=True)


def attach(ifindex: int, sockets: Mapping[int, int], *, tags: bool) -> int:
    """The descriptor of a link that sends what comes on each queue of an interface to its XDP socket.

    ``sockets`` are bound, by queue. ``tags``: the interface takes VLAN tags out of frames, and they are put back. Only
    the driver's own XDP will do: elsewhere frames come that the kernel has put together from several, with nothing to
    say so. Raises OSError: EOPNOTSUPP when the driver has none, EBUSY when the interface has a program already.
    """
    table = _call(BPF_MAP_CREATE, _MAP.pack(BPF_MAP_TYPE_XSKMAP, 4, 4, max(sockets) + 1, 0))
    try:
        for queue, descriptor in sockets.items():
            _put(table, queue, descriptor)
        program = _load_with_tags(table, ifindex) if tags else _load_as_can_be(table)
        try:
            return _call(BPF_LINK_CREATE, _LINK.pack(program, ifindex, BPF_XDP, XDP_FLAGS_DRV_MODE))
        finally:
            os.close(program)
    finally:
        os.close(table)


def knows_tags() -> bool:
    """Whether the kernel tells programs of the tags that were taken out."""
    return btf.function(VLAN_TAG) is not None


def _redirect(table: int) -> list[bytes]:
    """return bpf_redirect_map(table, context->rx_queue_index, XDP_PASS), with the context in r6."""
    return [
        _one(_LOAD, 2, 6, QUEUE),
        _one(_WIDE, 1, MAP_BY_DESCRIPTOR, 0, table),
        _one(0),  # the upper half
        _one(_SET, 3, value=XDP_PASS),
        _one(_CALL, value=REDIRECT_MAP),
        _one(_EXIT),
    ]


def _put_back(function: int) -> list[bytes]:
    """If there was a tag, make room for it behind the addresses. The kernel has its number in its own byte order."""
    insert = [
        _one(_COPY, 1, 6),
        _one(_SET, 2, value=-4),
        _one(_CALL, value=ADJUST_HEAD),
        _one(_LOAD, 7, 6, DATA),
        _one(_LOAD, 8, 6, DATA_END),
        _one(_COPY, 1, 7),
        _one(_ADD, 1, value=18),
        _one(_IF_NOT_ABOVE, 1, 8, 2),
        _one(_SET, 0, value=XDP_DROP),
        _one(_EXIT),
        *(_one(*move) for at in (0, 4, 8) for move in ((_LOAD, 1, 7, at + 4), (_STORE, 7, 1, at))),
        _one(_LOAD_HALF, 1, _STACK, -8),
        _one(_STORE_HALF, 7, 1, 12),
        _one(_LOAD_HALF, 1, _STACK, -6),
        _one(_BIG_ENDIAN, 1, value=16),
        _one(_STORE_HALF, 7, 1, 14),
    ]
    return [
        _one(_STORE_ZERO, _STACK, 0, -8),
        _one(_COPY, 2, _STACK),
        _one(_ADD, 2, value=-8),
        _one(_COPY, 3, _STACK),
        _one(_ADD, 3, value=-6),
        _one(_CALL, 0, KERNEL_FUNCTION, 0, function),
        _one(_IF_NOT, 0, 0, len(insert), 0),
        *insert,
    ]


def _one(operation: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return _INSTRUCTION.pack(operation, to | source << 4, offset, value)


def _load_as_can_be(table: int) -> int:
    try:
        return _load([_one(_COPY, 6, 1), *_redirect(table)], BPF_F_XDP_HAS_FRAGS)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return _load([_one(_COPY, 6, 1), *_redirect(table)], 0)  # before Linux 5.18 no frame is in several buffers


def _load_with_tags(table: int, ifindex: int) -> int:
    function = btf.function(VLAN_TAG)
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    instructions = [_one(_COPY, 6, 1), *_put_back(function), *_redirect(table)]
    return _load(instructions, BPF_F_XDP_HAS_FRAGS | BPF_F_XDP_DEV_BOUND_ONLY, ifindex)


def _load(instructions: list[bytes], flags: int, ifindex: int = 0) -> int:
    code = ctypes.create_string_buffer(b"".join(instructions))
    terms = ctypes.create_string_buffer(b"Dual MIT/GPL")
    places = ctypes.addressof(code), ctypes.addressof(terms)
    attributes = _PROGRAM.pack(BPF_PROG_TYPE_XDP, len(instructions), *places, 0, flags, b"softdpu", ifindex, BPF_XDP)
    return _call(BPF_PROG_LOAD, attributes)


def _put(table: int, key: int, value: int) -> None:
    places = [ctypes.c_uint32(number) for number in (key, value)]
    _call(BPF_MAP_UPDATE_ELEM, _ELEMENT.pack(table, *(ctypes.addressof(place) for place in places), 0))


def _call(command: int, attributes: bytes) -> int:
    number = SYS_BPF.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result: int = _LIBC.syscall(number, command, buffer, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
