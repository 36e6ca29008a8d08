"""The driver's side of an administration virtqueue: commands as bytes, so that wrong ones can be sent as well.

net = ModernDriver(vmm, memory, wanted=ALL_FEATURES | ADMIN_VQ).start()
admin = AdminQueue(net)
print(hex(admin.list_query(GroupType.SRIOV)))
admin.list_use(GroupType.SRIOV, LEGACY)
status = admin.legacy_read(member=1, offset=0x12, size=1)
"""

from typing import NamedTuple

from softdpu.spec import admin
from softdpu.spec import features as f
from softdpu.spec.admin import GroupType, Opcode
from softdpu.testkit.modern import ModernDriver


class AdminReply(NamedTuple):
    """What a command came to: status and qualifier (``softdpu.spec.admin``), and its result as far as written."""

    status: int
    qualifier: int
    result: bytes


class CommandFailed(Exception):
    """A command was refused that should not be."""


class AdminQueue:
    """The administration virtqueue of a started driver that has negotiated VIRTIO_F_ADMIN_VQ (virtio 1.3 §2.13)."""

    def __init__(self, net: ModernDriver) -> None:
        assert net.has(f.ADMIN_VQ), "ADMIN_VQ was not negotiated"
        self.net = net
        self.index = net.get("admin_queue_index")

    def raw(self, request: bytes, room: int, timeout: float = 5.0) -> bytes:
        """Any bytes, with ``room`` for the answer: those that the device says it wrote."""
        answer, written = self.net.exchange(self.index, request, room, timeout)
        return answer[:written]

    def send(
        self, opcode: int, data: bytes = b"", room: int = 0, *, group: int = GroupType.SRIOV, member: int = 0
    ) -> AdminReply:
        """A command with its specific data, and ``room`` bytes for its specific result."""
        answer = self.raw(admin.REQUEST.pack(opcode, group, member) + data, admin.REPLY.size + room)
        status, qualifier = admin.REPLY.unpack_from(answer.ljust(admin.REPLY.size, b"\0"))
        return AdminReply(status, qualifier, answer[admin.REPLY.size :])

    def ask(
        self, opcode: int, data: bytes = b"", room: int = 0, *, group: int = GroupType.SRIOV, member: int = 0
    ) -> bytes:
        """The same, of a command that must succeed: its result. Raises CommandFailed."""
        reply = self.send(opcode, data, room, group=group, member=member)
        if reply.status:
            raise CommandFailed(f"opcode {opcode:#x}: status {reply.status}, qualifier {reply.qualifier}")
        return reply.result

    # ---- what a driver does

    def list_query(self, group: int) -> int:
        """The opcodes of a group, as a bitmap."""
        return int.from_bytes(self.ask(Opcode.LIST_QUERY, room=8, group=group), "little")

    def list_use(self, group: int, opcodes: int) -> None:
        """The opcodes that the driver uses."""
        self.ask(Opcode.LIST_USE, admin.LIST_WORD.pack(opcodes), group=group)

    def legacy_read(self, member: int, offset: int, size: int, *, configuration: bool = False) -> bytes:
        """Bytes of one field of a member's legacy registers, or of its device configuration (§2.12.1.2)."""
        opcode = Opcode.LEGACY_DEV_CFG_READ if configuration else Opcode.LEGACY_COMMON_CFG_READ
        return self.ask(opcode, admin.LEGACY_READ.pack(offset), size, member=member)

    def legacy_write(self, member: int, offset: int, data: bytes, *, configuration: bool = False) -> None:
        """Write one field of them."""
        opcode = Opcode.LEGACY_DEV_CFG_WRITE if configuration else Opcode.LEGACY_COMMON_CFG_WRITE
        self.ask(opcode, admin.LEGACY_WRITE.pack(offset) + data, member=member)

    def notify_info(self, member: int) -> list[tuple[int, int, int]]:
        """Where a member is notified: flags, BAR and offset of each entry, up to the end of the list."""
        result = self.ask(Opcode.LEGACY_NOTIFY_INFO, room=admin.NOTIFY_ENTRIES * admin.NOTIFY_INFO.size, member=member)
        entries: list[tuple[int, int, int]] = []
        for flags, bar, offset in admin.NOTIFY_INFO.iter_unpack(result):
            if flags == admin.NOTIFY_END:
                break
            entries.append((flags, bar, offset))
        return entries
