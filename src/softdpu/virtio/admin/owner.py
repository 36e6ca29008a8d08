"""The owner of device groups: what its driver sends to the administration virtqueue is judged, done, counted, traced.

Two kindnesses are made to Linux, which asks for its lists before it makes VFs, and asks the SR-IOV group only:
see docs/decisions/0017-linux-and-the-administration-virtqueue.md.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from softdpu.spec import admin
from softdpu.spec.admin import GroupType, Opcode, Qualifier, Refused, Status, invalid
from softdpu.virtio.admin import capabilities, legacy, lists, moves, objects
from softdpu.virtio.admin.call import Call, Handler
from softdpu.virtio.admin.member import Group, Member, NoMembers
from softdpu.virtio.admin.state import AdminState, Count
from softdpu.virtio.outcome import Effects, note

TRACED, SHOWN_BYTES = 256, 24
UNKNOWN = "UNKNOWN"


class Command(NamedTuple):
    """A row of the table of commands."""

    handler: Handler
    group: GroupType | None  # the one that it is defined for; None: every
    member: bool = True  # whether it uses group_member_id


SELF, SRIOV = GroupType.SELF, GroupType.SRIOV
COMMANDS: dict[Opcode, Command] = {
    Opcode.LIST_QUERY: Command(lists.query, None, member=False),
    Opcode.LIST_USE: Command(lists.use, None, member=False),
    Opcode.LEGACY_COMMON_CFG_WRITE: Command(legacy.write(configuration=False), SRIOV),
    Opcode.LEGACY_COMMON_CFG_READ: Command(legacy.read(configuration=False), SRIOV),
    Opcode.LEGACY_DEV_CFG_WRITE: Command(legacy.write(configuration=True), SRIOV),
    Opcode.LEGACY_DEV_CFG_READ: Command(legacy.read(configuration=True), SRIOV),
    Opcode.LEGACY_NOTIFY_INFO: Command(legacy.notify_info, SRIOV),
    Opcode.CAP_ID_LIST_QUERY: Command(capabilities.query, SELF),
    Opcode.DEVICE_CAP_GET: Command(capabilities.get, SELF),
    Opcode.DRIVER_CAP_SET: Command(capabilities.set_, SELF),
    Opcode.RESOURCE_OBJ_CREATE: Command(objects.create, SRIOV),
    Opcode.RESOURCE_OBJ_MODIFY: Command(objects.modify, SRIOV),
    Opcode.RESOURCE_OBJ_QUERY: Command(objects.query, SRIOV),
    Opcode.RESOURCE_OBJ_DESTROY: Command(objects.destroy, SRIOV),
    Opcode.DEV_PARTS_METADATA_GET: Command(moves.metadata, SRIOV),
    Opcode.DEV_PARTS_GET: Command(moves.get, SRIOV),
    Opcode.DEV_PARTS_SET: Command(moves.set_, SRIOV),
    Opcode.DEV_MODE_SET: Command(moves.mode, SRIOV),
}
SUPPORTED: dict[int, int] = {
    SELF: admin.LISTS | admin.CAPABILITIES,
    # Capabilities are of the self group. Linux (6.13 and later) uses them there if it finds them in this list.
    SRIOV: admin.LISTS | admin.LEGACY | admin.CAPABILITIES | admin.PARTS,
}


class Trace(NamedTuple):
    """A command that was executed, or refused."""

    opcode: int
    group_type: int
    member: int
    data: bytes
    result: bytes | Refused

    def __str__(self) -> str:
        group = {SELF: "self", SRIOV: "SR-IOV"}.get(self.group_type, f"group {self.group_type}")  # type: ignore[call-overload]
        head = f"{name_of(self.opcode)} {group} member {self.member}{_hex(' <', self.data)}: "
        if isinstance(self.result, Refused):
            status, qualifier, why = self.result
            return f"{head}{status.name}, {qualifier.name}: {why}"
        return f"{head}OK{_hex(' >', self.result)}"


class Owner:
    """The owner's end. ``state`` is alive. ``group`` is its SR-IOV group, for whoever has the VFs to set.

    Without ``legacy`` its members have no legacy interface.
    """

    def __init__(self, state: AdminState, *, legacy: bool = True) -> None:
        self.state = state
        self._legacy = legacy
        self.group: Group = NoMembers()
        self.trace: deque[Trace] = deque(maxlen=TRACED)  # the last commands, oldest first

    def reset(self) -> None:
        """The owner was reset: lists, driver capabilities and objects are gone (§2.12.1); what was counted stays."""
        fresh = AdminState(counts=self.state.counts)
        for field in AdminState.__struct_fields__:
            setattr(self.state, field, getattr(fresh, field))

    def forget_member(self, number: int) -> None:
        """A member has gone, and its objects with it."""
        self.state.objects = {key: there for key, there in self.state.objects.items() if there.member != number}

    def supported(self, group_type: int) -> int:
        """The bitmap of LIST_QUERY. It never shrinks."""
        return SUPPORTED[group_type] & ~(0 if self._legacy else admin.LEGACY)

    def used(self, group_type: int) -> int:
        """The commands that are legal now."""
        lists = self.state.used.get(group_type)
        if lists is not None:
            return lists
        if group_type == SELF:
            return admin.LISTS | self.state.used.get(SRIOV, 0) & admin.CAPABILITIES
        return admin.LISTS

    def execute(self, data: bytes, room: int) -> tuple[bytes, Effects]:
        """One command: the device-readable bytes, and how many can be written. Returns what to write: at most that."""
        opcode, group_type, number = admin.REQUEST.unpack(data[: admin.REQUEST.size].ljust(admin.REQUEST.size, b"\0"))
        specific = data[admin.REQUEST.size :]
        result = self._judge(opcode, group_type, number, specific, max(0, room - admin.REPLY.size))
        trace = Trace(opcode, group_type, number, specific, result)
        self._count(trace)
        said = note(f"administration: {trace}", "info" if self._still_told() else "debug")
        if isinstance(result, Refused):
            return admin.REPLY.pack(result.status, result.qualifier)[:room], said
        return (admin.REPLY.pack(Status.OK, Qualifier.OK) + result)[:room], said

    def _still_told(self) -> bool:
        """The first commands go into the log; a driver that goes on for ever, past resets too, does not fill it."""
        return sum(count.done + count.refused for count in self.state.counts.values()) <= TRACED

    def _judge(self, opcode: int, group_type: int, number: int, data: bytes, room: int) -> bytes | Refused:
        """Group, then opcode, then member, as §2.12.1 orders it; then the command."""
        if why := self._no_group(opcode, group_type):
            return invalid(Qualifier.INVALID_GROUP, why)
        if opcode >= 64 or not self.used(group_type) >> opcode & 1:
            return invalid(Qualifier.INVALID_OPCODE, "it is not in the list that the driver uses")
        command = COMMANDS[Opcode(opcode)]
        if command.group not in (None, group_type):
            return invalid(Qualifier.INVALID_GROUP, "it is not defined for this group")
        if not command.member:
            return command.handler(Call(self, group_type, 0, data, room))
        member = self._member(group_type, number)
        if isinstance(member, Refused):
            return member
        return command.handler(Call(self, group_type, number, data, room, member))

    def _no_group(self, opcode: int, group_type: int) -> str:
        if group_type not in SUPPORTED:
            return f"there is no group type {group_type}"
        if group_type == SRIOV and not self.group.size and not admin.LISTS >> opcode & 1:
            return "VF Enable is clear"
        return ""

    def _member(self, group_type: int, number: int) -> Member | Refused | None:
        if group_type == SELF:
            return invalid(Qualifier.INVALID_MEMBER, "the self group has member 0 only") if number else None
        if not 1 <= number <= self.group.size:
            return invalid(Qualifier.INVALID_MEMBER, f"members are 1 to {self.group.size}")
        why = "the member is just being made or removed"
        return self.group.member(number) or Refused(Status.EAGAIN, Qualifier.TRYAGAIN, why)

    def _count(self, trace: Trace) -> None:
        self.trace.append(trace)
        count = self.state.counts.setdefault(name_of(trace.opcode) if trace.opcode in _KNOWN else UNKNOWN, Count())
        if isinstance(trace.result, Refused):
            count.refused += 1
        else:
            count.done += 1


_KNOWN = frozenset(Opcode)


def name_of(opcode: int) -> str:
    """The name of a command, or its number where it has none."""
    return Opcode(opcode).name if opcode in _KNOWN else f"opcode {opcode:#x}"


def _hex(sign: str, data: bytes) -> str:
    if not data:
        return ""
    return f"{sign} {data[:SHOWN_BYTES].hex()}" + ("…" if len(data) > SHOWN_BYTES else "")
