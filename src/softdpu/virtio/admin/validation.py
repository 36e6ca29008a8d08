"""A saved AdminState is not trusted either."""

from __future__ import annotations

from collections.abc import Iterator

from softdpu.spec.admin import Opcode
from softdpu.virtio.admin.capabilities import LIMITS
from softdpu.virtio.admin.owner import SUPPORTED, UNKNOWN
from softdpu.virtio.admin.state import AdminState

COUNTED = {opcode.name for opcode in Opcode} | {UNKNOWN}


def admin_faults(state: AdminState, members: int) -> Iterator[tuple[str, str]]:
    """Each field that cannot be, with what is wrong with it; of an owner of up to ``members``."""
    for group, used in state.used.items():
        if group not in SUPPORTED or used & ~SUPPORTED[group]:
            yield f"admin.used[{group}]", f"{used:#x} is no list of commands of that group"
    if any(not 0 <= limit <= most for limit, most in zip(state.limits, LIMITS, strict=True)):
        yield "admin.limits", f"{state.limits} are not below {LIMITS}"
    for number, there in state.objects.items():
        if not 0 <= number < state.limits[there.sets] or not 1 <= there.member <= members:
            yield f"admin.objects[{number}]", f"cannot be: of member {there.member}, with limits {state.limits}"
    for name, count in state.counts.items():
        if name not in COUNTED or count.done < 0 or count.refused < 0:
            yield f"admin.counts[{name[:24]}]", "is not the count of a command"
