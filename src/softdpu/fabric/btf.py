"""The kernel's own description of its types (BTF): just enough to find the number of a function by its name."""

import struct
from pathlib import Path

VMLINUX = Path("/sys/kernel/btf/vmlinux")
FUNCTION = 12  # linux/btf.h BTF_KIND_FUNC
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
# By kind: bytes after the type itself, and bytes a member.
_MORE = {
    1: (4, 0),
    3: (12, 0),
    4: (0, 12),
    5: (0, 12),
    6: (0, 8),
    13: (0, 8),
    14: (4, 0),
    15: (0, 12),
    17: (4, 0),
    19: (0, 12),
}


def function(name: str, path: Path = VMLINUX) -> int | None:
    """The number of a function's type; None when the kernel has no such function, or does not describe itself."""
    try:
        return _find(path.read_bytes(), name.encode())
    except (OSError, struct.error):
        return None


def _find(data: bytes, name: bytes) -> int | None:
    *_, length, types, types_length, strings, strings_length = _HEADER.unpack_from(data)
    at, end, strings = length + types, length + types + types_length, length + strings
    wanted = data.find(b"\0" + name + b"\0", strings, strings + strings_length) + 1 - strings
    number = 0
    while at < end:
        number += 1
        name_at, info, _ = _TYPE.unpack_from(data, at)
        kind = info >> 24 & 0x1F
        if kind == FUNCTION and name_at == wanted:
            return number
        after, member = _MORE.get(kind, (0, 0))
        at += _TYPE.size + after + member * (info & 0xFFFF)
    return None
