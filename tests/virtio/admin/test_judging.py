"""What every command is checked for, in the order of virtio 1.3 §2.12.1: group, opcode, member."""

import pytest

from softdpu.spec import admin
from softdpu.spec.admin import Opcode, Qualifier, Status
from softdpu.virtio.admin.owner import COMMANDS, SUPPORTED
from tests.virtio.admin.desk import OK, SELF, SRIOV, Desk, VirtualFunctions, refused

MEMBERS = [opcode for opcode in Opcode if SUPPORTED[SRIOV] >> opcode & 1 and COMMANDS[opcode].member]


def test_each_command_has_a_handler_and_is_in_a_list() -> None:
    assert set(COMMANDS) == set(Opcode)
    assert SUPPORTED[SRIOV] == admin.bitmap(*Opcode)


@pytest.mark.parametrize("opcode", [*Opcode, 0x12, 63, 64, 0x8000, 0xFFFF])
def test_an_unknown_group_comes_before_all_else(used: Desk, opcode: int) -> None:
    assert used.send(opcode, group=2, member=99) == refused(Qualifier.INVALID_GROUP)


@pytest.mark.parametrize("opcode", [0x12, 63, 64, 0x8000, 0xFFFF])
@pytest.mark.parametrize("group", [SELF, SRIOV])
def test_an_unknown_opcode_comes_before_the_member(used: Desk, group: int, opcode: int) -> None:
    assert used.send(opcode, group=group, member=99) == refused(Qualifier.INVALID_OPCODE)


@pytest.mark.parametrize("opcode", [opcode for opcode in Opcode if not admin.LISTS >> opcode & 1])
@pytest.mark.parametrize("group", [SELF, SRIOV])
def test_nothing_but_the_lists_before_list_use(desk: Desk, group: int, opcode: int) -> None:
    assert desk.send(opcode, group=group, member=99) == refused(Qualifier.INVALID_OPCODE)


@pytest.mark.parametrize("opcode", MEMBERS)
@pytest.mark.parametrize("member", [0, 4, 1 << 63])
def test_a_member_beyond_num_vfs(used: Desk, opcode: int, member: int) -> None:
    expected = Qualifier.INVALID_GROUP if COMMANDS[Opcode(opcode)].group == SELF else Qualifier.INVALID_MEMBER
    assert used.send(opcode, member=member) == refused(expected)


def test_a_member_that_is_just_being_made_or_removed(used: Desk) -> None:
    assert used.send(Opcode.LEGACY_NOTIFY_INFO, member=3) == refused(Qualifier.TRYAGAIN, Status.EAGAIN)


def test_a_member_of_the_self_group_beyond_zero(used: Desk) -> None:
    assert used.send(Opcode.CAP_ID_LIST_QUERY, group=SELF, member=1) == refused(Qualifier.INVALID_MEMBER)


@pytest.mark.parametrize("opcode", [opcode for opcode in COMMANDS if COMMANDS[opcode].group == SELF])
def test_capabilities_are_of_the_self_group(used: Desk, opcode: int) -> None:
    """virtio 1.4: EINVAL if the commands are not for the self group type."""
    assert used.send(opcode) == refused(Qualifier.INVALID_GROUP)


@pytest.mark.parametrize("opcode", [opcode for opcode in Opcode if not admin.LISTS >> opcode & 1])
def test_there_is_no_group_while_vf_enable_is_clear(opcode: int) -> None:
    desk = Desk(VirtualFunctions(0))
    desk.use()
    assert desk.send(opcode) == refused(Qualifier.INVALID_GROUP)


def test_lists_are_told_while_vf_enable_is_clear() -> None:
    """Linux asks when it binds, before it makes VFs, and never again."""
    desk = Desk(VirtualFunctions(0))
    assert desk.send(Opcode.LIST_QUERY, member=0)[:2] == OK
    assert desk.use()[:2] == OK


def test_reserved_bytes_are_ignored(used: Desk) -> None:
    """§2.12.1: unused device-readable fields are ignored by the device."""
    assert used.send(Opcode.LEGACY_NOTIFY_INFO, reserved=0xFF)[:2] == OK


def test_a_refused_command_changes_nothing(used: Desk) -> None:
    before = used.owner.state.used.copy()
    assert used.use(opcodes=1 << 63) == refused(Qualifier.INVALID_FIELD)
    assert used.owner.state.used == before


def test_commands_are_counted_by_name(used: Desk) -> None:
    used.send(Opcode.LEGACY_NOTIFY_INFO)
    used.send(Opcode.LEGACY_NOTIFY_INFO, member=9)
    used.send(0x1234)
    counts = used.owner.state.counts
    assert {name: (count.done, count.refused) for name, count in counts.items()} == {
        "LIST_USE": (2, 0),
        "LEGACY_NOTIFY_INFO": (1, 1),
        "UNKNOWN": (0, 1),
    }


def test_commands_are_traced_with_bytes_and_reason(used: Desk) -> None:
    used.send(Opcode.LEGACY_COMMON_CFG_READ, b"\x0c", room=2)
    used.send(Opcode.LEGACY_COMMON_CFG_READ, b"\x14", room=2, member=2)
    *_, read, stray = map(str, used.owner.trace)
    assert read == "LEGACY_COMMON_CFG_READ SR-IOV member 1 < 0c: OK > 0001"
    assert stray == (
        "LEGACY_COMMON_CFG_READ SR-IOV member 2 < 14: EINVAL, INVALID_FIELD: "
        "2 bytes at 0x14 of the common configuration are not of one field"
    )


def test_a_reset_takes_all_back_but_what_was_counted(used: Desk) -> None:
    used.owner.reset()
    assert used.send(Opcode.LEGACY_NOTIFY_INFO) == refused(Qualifier.INVALID_OPCODE)
    assert used.owner.state.counts["LIST_USE"].done == 2
