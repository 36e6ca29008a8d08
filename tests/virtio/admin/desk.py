"""An owner with a group of real functions, and its driver's side: commands as bytes, replies taken apart."""

from __future__ import annotations

from collections.abc import Sequence

from softdpu.net.device import Function
from softdpu.net.member import FunctionMember
from softdpu.spec import admin
from softdpu.spec.admin import GroupType, Opcode, Qualifier, Status
from softdpu.virtio.admin.member import NotifyAddress
from softdpu.virtio.admin.owner import Owner
from softdpu.virtio.admin.state import AdminState
from softdpu.virtio.effects import Effect
from tests.virtio.drivers import make

SELF, SRIOV = GroupType.SELF, GroupType.SRIOV
PLACES = (NotifyAddress(True, 2, 0x2000), NotifyAddress(False, 4, 0x3004))
Reply = tuple[Status, Qualifier, bytes]


class VirtualFunctions:
    """Functions that were made as VFs are; number 3 is being destroyed."""

    def __init__(self, count: int = 3) -> None:
        self.functions = [make("modern", virtual=True, legacy_access=True) for _ in range(count)]
        self.effects: list[list[Effect]] = [[] for _ in range(count)]
        self.size = count

    def member(self, number: int) -> FunctionMember | None:
        function = self.functions[number - 1]
        return None if number == 3 else FunctionMember(function, self.effects[number - 1].extend)

    def notify_addresses(self, number: int) -> Sequence[NotifyAddress]:
        return PLACES


class Desk:
    """The driver of an owner."""

    def __init__(self, group: VirtualFunctions | None = None) -> None:
        self.owner = Owner(AdminState())
        self.group = group or VirtualFunctions()
        self.owner.group = self.group

    def send(
        self, opcode: int, data: bytes = b"", room: int = 64, *, group: int = SRIOV, member: int = 1, reserved: int = 0
    ) -> Reply:
        """A command with ``room`` bytes for its result: status, qualifier, and the result as far as it was written."""
        head = admin.REQUEST.pack(opcode, group, member)
        head = head[:4] + bytes([reserved]) * 12 + head[16:]
        answer, _ = self.owner.execute(head + data, admin.REPLY.size + room)
        status, qualifier = admin.REPLY.unpack_from(answer)
        return Status(status), Qualifier(qualifier), answer[admin.REPLY.size :]

    def use(self, group: int = SRIOV, opcodes: int | None = None) -> Reply:
        """LIST_USE of all that LIST_QUERY names, unless told otherwise."""
        wanted = self.owner.supported(group) if opcodes is None else opcodes
        return self.send(Opcode.LIST_USE, admin.LIST_WORD.pack(wanted), group=group, member=0)

    def function(self, member: int = 1) -> Function:
        """The member's function itself."""
        return self.group.functions[member - 1]


OK = (Status.OK, Qualifier.OK)


def refused(qualifier: Qualifier, status: Status = Status.EINVAL) -> Reply:
    """The reply to a command that failed: no result."""
    return status, qualifier, b""
