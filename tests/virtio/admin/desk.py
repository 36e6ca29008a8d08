"""An owner with a group of real functions, and its driver's side: commands as bytes, replies taken apart."""

from __future__ import annotations

from collections.abc import Sequence

from softdpu.net.device import Function
from softdpu.net.member import FunctionMember
from softdpu.spec import admin, legacy
from softdpu.spec import features as f
from softdpu.spec.admin import GroupType, Opcode, Qualifier, Status
from softdpu.virtio.admin.member import NotifyAddress
from softdpu.virtio.admin.owner import Owner
from softdpu.virtio.admin.state import AdminState
from softdpu.virtio.effects import Effect
from tests.virtio.drivers import make

SELF, SRIOV = GroupType.SELF, GroupType.SRIOV
PLACES = (NotifyAddress(True, 2, 0x2000), NotifyAddress(False, 4, 0x3004))
Reply = tuple[Status, Qualifier, bytes]


def made(**changes: object) -> Function:
    """A VF that offers all that there are parts for."""
    features = f.mask_of(f.NET_HASH_REPORT)
    return make("modern", virtual=True, legacy_access=True, features=features, **changes)


class VirtualFunctions:
    """Functions that were made as VFs are; number 3 is being destroyed."""

    def __init__(self, count: int = 3, **changes: object) -> None:
        self.functions = [made(**changes) for _ in range(count)]
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


class Legacy:
    """A legacy driver of member 1, each of its accesses a command."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def read(self, name: str) -> int:
        register = legacy.LEGACY_MSIX.named[name]
        status, qualifier, data = self.desk.send(
            Opcode.LEGACY_COMMON_CFG_READ, bytes([register.offset]), room=register.size
        )
        assert (status, qualifier, len(data)) == (*OK, register.size)
        return int.from_bytes(data, "little")

    def write(self, name: str, value: int) -> None:
        register = legacy.LEGACY_MSIX.named[name]
        data = admin.LEGACY_WRITE.pack(register.offset) + value.to_bytes(register.size, "little")
        assert self.desk.send(Opcode.LEGACY_COMMON_CFG_WRITE, data)[:2] == OK

    def bring_up(self) -> None:
        for status in (0, 1, 3):
            self.write("device_status", status)
        self.write("driver_features", self.read("device_features"))
        for queue in range(3):
            self.write("queue_select", queue)
            self.write("queue_address", 0x1000 * (queue + 1))
        self.write("device_status", 7)


OK = (Status.OK, Qualifier.OK)


def refused(qualifier: Qualifier, status: Status = Status.EINVAL) -> Reply:
    """The reply to a command that failed: no result."""
    return status, qualifier, b""
