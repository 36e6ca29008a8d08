"""Garbage on the administration virtqueue (virtio 1.3 §2.13): a status and a qualifier, and nothing else changes."""

import random
from collections.abc import Iterator

import pytest

from softdpu.spec import admin
from softdpu.spec.admin import GroupType, Opcode, Qualifier, Status
from softdpu.testkit import ADMIN_VQ, ALL_FEATURES, AdminQueue, AdminReply, ModernDriver
from tests.dpu_under_test import FIRMWARE, Dpu, Plugged
from tests.small_guest import SmallGuest

FOUR_VFS = {**FIRMWARE, "VIRTIO_NET_EMULATION_NUM_PF": 1, "VIRTIO_NET_EMULATION_NUM_VF": 4}


@pytest.fixture(scope="module")
def own_dpu() -> Iterator[Dpu]:
    """A DPU with a static PF that can have VFs, and has none."""
    with Dpu(FOUR_VFS, lm_prov="kernel") as dpu:
        yield dpu


@pytest.fixture(scope="module")
def owner(own_dpu: Dpu) -> Plugged:
    """That PF."""
    found = own_dpu.virtnet("query", "-p", 0).json["devices"][0]
    mac = bytes.fromhex(found["mac"].replace(":", ""))
    socket = own_dpu.root / "run/virtnet" / f"{found['vuid']}.sock"
    return Plugged(found["vuid"], 0, mac, found["sf_rep_net_device"], socket, found)


@pytest.fixture
def queue(owner: Plugged) -> Iterator[AdminQueue]:
    """Its administration virtqueue, and a driver about to turn hostile."""
    with SmallGuest(owner, ModernDriver, wanted=ALL_FEATURES | ADMIN_VQ) as guest:
        assert isinstance(guest.net, ModernDriver)
        yield AdminQueue(guest.net)


def test_lists_are_told_over_the_ring(queue: AdminQueue) -> None:
    assert queue.list_query(GroupType.SRIOV) & admin.LEGACY == admin.LEGACY
    queue.list_use(GroupType.SRIOV, admin.LEGACY)


@pytest.mark.parametrize(
    ("opcode", "group", "qualifier"),
    [
        (Opcode.LIST_QUERY, 2, Qualifier.INVALID_GROUP),
        (Opcode.LIST_QUERY, 0xFFFF, Qualifier.INVALID_GROUP),
        (Opcode.LEGACY_NOTIFY_INFO, GroupType.SRIOV, Qualifier.INVALID_GROUP),  # VF Enable is clear
        (Opcode.CAP_ID_LIST_QUERY, GroupType.SELF, Qualifier.INVALID_OPCODE),  # before LIST_USE
        (0x8000, GroupType.SELF, Qualifier.INVALID_OPCODE),
    ],
)
def test_refused(queue: AdminQueue, opcode: int, group: int, qualifier: int) -> None:
    assert queue.send(opcode, room=32, group=group, member=1) == AdminReply(Status.EINVAL, qualifier, b"")
    assert not queue.net.needs_reset


@pytest.mark.parametrize("length", [0, 1, 3, 23])
def test_a_request_that_is_cut_off(queue: AdminQueue, length: int) -> None:
    """What is missing is zero: LIST_QUERY of the self group."""
    answer = queue.raw(admin.REQUEST.pack(Opcode.LIST_QUERY, GroupType.SELF, 0)[:length], 16)
    assert answer == admin.REPLY.pack(Status.OK, Qualifier.OK) + admin.LIST_WORD.pack(admin.LISTS | admin.CAPABILITIES)


@pytest.mark.parametrize("room", [0, 1, 7, 8, 15])
def test_no_room_for_the_whole_answer(queue: AdminQueue, room: int) -> None:
    assert len(queue.raw(admin.REQUEST.pack(Opcode.LIST_QUERY, GroupType.SELF, 0), room)) == room
    assert queue.list_query(GroupType.SELF)


def test_room_beyond_the_answer_stays_as_it_was(queue: AdminQueue) -> None:
    answer, written = queue.net.exchange(queue.index, admin.REQUEST.pack(Opcode.LIST_QUERY, GroupType.SELF, 0), 64)
    assert (written, answer[written:]) == (16, b"\xff" * 48)


def test_control_commands_are_no_administration_commands(queue: AdminQueue) -> None:
    queue.raw(b"\0\0\1", 1)
    assert not queue.net.needs_reset


def test_noise(queue: AdminQueue) -> None:
    chance = random.Random(41)  # the same noise every time
    for _ in range(300):
        head = admin.REQUEST.pack(chance.randrange(20), chance.randrange(3), chance.randrange(6))
        queue.raw(head + chance.randbytes(chance.randrange(40)), chance.randrange(40))
    assert not queue.net.needs_reset


def test_command_of_a_megabyte(own_dpu: Dpu, owner: Plugged) -> None:
    with SmallGuest(owner, ModernDriver, wanted=ALL_FEATURES | ADMIN_VQ) as guest:
        assert isinstance(guest.net, ModernDriver)
        queue = AdminQueue(guest.net)
        assert queue.raw(bytes(1 << 20), room=8)
        assert queue.list_query(GroupType.SRIOV)


def test_what_came_is_counted_and_told(own_dpu: Dpu, queue: AdminQueue) -> None:
    queue.send(0x7FFF, group=GroupType.SELF)
    shown = own_dpu.virtnet("stats", "-p", 0).json["device"]["admin-queue"]
    assert shown["VQ Index"] == queue.index
    assert shown["commands"]["UNKNOWN"]["refused"] >= 1
    assert shown["recent"][-1].startswith("opcode 0x7fff self member 0: EINVAL, INVALID_OPCODE")
    assert 'command="UNKNOWN",outcome="refused"' in own_dpu.metrics()
