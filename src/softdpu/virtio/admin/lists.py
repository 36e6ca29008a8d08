"""Which commands there are, and which the driver uses (virtio 1.3 §2.12.1)."""

from __future__ import annotations

from softdpu.spec.admin import LIST_WORD, Qualifier, Refused, invalid
from softdpu.virtio.admin.call import Call


def query(call: Call) -> bytes:
    """LIST_QUERY: all opcodes fit one word."""
    return LIST_WORD.pack(call.desk.supported(call.group_type))


def use(call: Call) -> bytes | Refused:
    """LIST_USE: exactly these from now on, LIST_QUERY and LIST_USE too; nothing that is not supported."""
    wanted = int.from_bytes(call.data, "little")
    if strange := wanted & ~call.desk.supported(call.group_type):
        return invalid(Qualifier.INVALID_FIELD, f"opcode {strange.bit_length() - 1:#x} is not in this group's list")
    call.desk.state.used[call.group_type] = wanted
    return b""
