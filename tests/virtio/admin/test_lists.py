"""LIST_QUERY and LIST_USE (virtio 1.3 §2.12.1)."""

import pytest

from softdpu.spec import admin
from softdpu.spec.admin import Opcode, Qualifier, Status
from softdpu.virtio.admin.owner import SUPPORTED
from tests.virtio.admin.desk import OK, SELF, SRIOV, Desk, refused


@pytest.mark.parametrize("group", [SELF, SRIOV])
def test_query_names_all_commands_of_the_group(desk: Desk, group: int) -> None:
    status, qualifier, result = desk.send(Opcode.LIST_QUERY, group=group, member=0)
    assert (status, qualifier) == OK
    assert admin.LIST_WORD.unpack(result) == (SUPPORTED[group],)
    assert SUPPORTED[group] & admin.LISTS == admin.LISTS


def test_legacy_commands_come_all_together() -> None:
    """§2.12.1.2: all of, or none of; NOTIFY_INFO only with the others."""
    assert SUPPORTED[SRIOV] & admin.LEGACY == admin.LEGACY
    assert not SUPPORTED[SELF] & admin.LEGACY


def test_exactly_the_commands_of_list_use_are_legal(desk: Desk) -> None:
    assert desk.use(opcodes=1 << Opcode.LEGACY_NOTIFY_INFO)[:2] == OK
    assert desk.send(Opcode.LEGACY_NOTIFY_INFO)[:2] == OK
    assert desk.send(Opcode.LIST_QUERY) == refused(Qualifier.INVALID_OPCODE)
    assert desk.use() == refused(Qualifier.INVALID_OPCODE)


def test_zeros_after_the_list_are_allowed(desk: Desk) -> None:
    assert desk.send(Opcode.LIST_USE, admin.LIST_WORD.pack(admin.LEGACY) + bytes(24))[:2] == OK


@pytest.mark.parametrize("opcode", [0x12, 63, 64, 1000])
def test_a_command_that_is_not_supported_cannot_be_used(desk: Desk, opcode: int) -> None:
    word = (1 << opcode).to_bytes(opcode // 8 + 1, "little")
    assert desk.send(Opcode.LIST_USE, word) == refused(Qualifier.INVALID_FIELD)


def test_a_list_that_is_cut_off_is_filled_with_zeros(desk: Desk) -> None:
    """§2.13: missing fields are interpreted as set to zero."""
    assert desk.send(Opcode.LIST_USE, bytes([1 << Opcode.LEGACY_NOTIFY_INFO]))[:2] == OK
    assert desk.send(Opcode.LEGACY_NOTIFY_INFO)[:2] == OK
    assert desk.send(Opcode.LIST_QUERY) == refused(Qualifier.INVALID_OPCODE)


def test_groups_have_lists_of_their_own(desk: Desk) -> None:
    desk.use(SRIOV, admin.LEGACY)
    assert desk.send(Opcode.LIST_QUERY, group=SELF, member=0)[:2] == OK
    assert desk.send(Opcode.CAP_ID_LIST_QUERY, group=SELF, member=0) == refused(Qualifier.INVALID_OPCODE)


def test_capabilities_that_linux_takes_up_in_the_sriov_group(desk: Desk) -> None:
    """Linux 6.13 and later sends LIST_USE to the SR-IOV group only, and then capability commands to the self group."""
    desk.use(SRIOV, admin.LEGACY | admin.CAPABILITIES)
    assert desk.send(Opcode.CAP_ID_LIST_QUERY, group=SELF, member=0)[:2] == OK
    desk.use(SELF, admin.LISTS)
    assert desk.send(Opcode.CAP_ID_LIST_QUERY, group=SELF, member=0) == refused(Qualifier.INVALID_OPCODE)


@pytest.mark.parametrize("room", [0, 1, 4, 7, 8])
def test_a_reply_ends_where_the_room_does(desk: Desk, room: int) -> None:
    """§2.13: data that would be written outside the buffers is discarded."""
    request = admin.REQUEST.pack(Opcode.LIST_QUERY, SRIOV, 0)
    whole, _ = desk.owner.execute(request, 64)
    assert desk.owner.execute(request, room)[0] == whole[:room]


@pytest.mark.parametrize("length", range(24))
def test_a_request_that_is_cut_off_is_filled_with_zeros(desk: Desk, length: int) -> None:
    request = admin.REQUEST.pack(Opcode.LIST_QUERY, SRIOV, 0)[:length]
    answer, _ = desk.owner.execute(request, 64)
    assert admin.REPLY.unpack_from(answer) == (Status.OK, Qualifier.OK)
