"""VFs that their PF's driver stops, lets go on, and has begin anew from their own device parts (virtio 1.4)."""

from collections.abc import Iterator

import pytest

from softdpu.controller.errors import OperatorError
from softdpu.spec import admin
from softdpu.spec.admin import GroupType, Opcode, PartType
from softdpu.testkit import ADMIN_VQ, ALL_FEATURES, AdminQueue, ModernDriver, frame
from softdpu.virtio.parts import encoded, parsed
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest
from tests.vfs import SETTINGS, function, set_vfs

OUTSIDE = bytes.fromhex("02000000fffe")
USED = admin.CAPABILITIES | admin.PARTS
GET, SET = 0, 1  # ids of the objects


@pytest.fixture(scope="module")
def own_dpu() -> Iterator[Dpu]:
    """A DPU whose static PFs can have VFs."""
    with Dpu(SETTINGS) as dpu:
        yield dpu
        assert dpu.own_mistakes() == []


@pytest.fixture
def queue(own_dpu: Dpu) -> Iterator[AdminQueue]:
    """The PF's administration virtqueue, with objects for the VF's parts in both directions."""
    pf = function(own_dpu, "static PF", 0)
    with SmallGuest(pf, ModernDriver, wanted=ALL_FEATURES | ADMIN_VQ) as guest:
        assert isinstance(guest.net, ModernDriver)
        set_vfs(own_dpu, 0, 1)
        queue = AdminQueue(guest.net)
        queue.list_use(GroupType.SRIOV, USED)
        limits = admin.CAP.pack(admin.DEV_PARTS_CAP) + admin.PARTS_LIMITS.pack(4, 4)
        queue.ask(Opcode.DRIVER_CAP_SET, limits, group=GroupType.SELF)
        for object_id in (GET, SET):
            kind = admin.PARTS_OBJECT.pack(admin.PARTS_TYPE_SET if object_id == SET else admin.PARTS_TYPE_GET)
            queue.ask(Opcode.RESOURCE_OBJ_CREATE, admin.OBJECT.pack(0, object_id) + bytes(8) + kind, member=1)
        yield queue
        set_vfs(own_dpu, 0, 0, force=True)


@pytest.fixture
def vf(own_dpu: Dpu, queue: AdminQueue) -> Plugged:
    """The VF, which is there while the PF's driver is."""
    assert queue.index
    return function(own_dpu, "VF", 0)


@pytest.fixture
def outside(own_dpu: Dpu, vf: Plugged) -> Iterator[Representor]:
    with own_dpu.representor(vf) as outside:
        yield outside


def mode(queue: AdminQueue, flags: int) -> None:
    queue.ask(Opcode.DEV_MODE_SET, admin.MODE.pack(flags), member=1)


def parts(queue: AdminQueue) -> bytes:
    data = admin.OBJECT.pack(0, GET) + admin.PARTS_SELECT.pack(admin.GET_ALL)
    return queue.ask(Opcode.DEV_PARTS_GET, data, 8192, member=1)


def both_ways(guest: SmallGuest, outside: Representor, mark: bytes) -> None:
    guest.net.send(frame(OUTSIDE, guest.net.mac, mark))
    outside.send(frame(guest.net.mac, OUTSIDE, mark))
    assert mark in outside.receive()
    assert mark in guest.net.receive()


def test_a_stopped_member_touches_no_ring_and_loses_nothing(
    queue: AdminQueue, vf: Plugged, outside: Representor
) -> None:
    with SmallGuest(vf, ModernDriver) as guest:
        both_ways(guest, outside, b"before")
        mode(queue, admin.MODE_STOPPED)
        guest.net.send(frame(OUTSIDE, guest.net.mac, b"meanwhile"))
        outside.send(frame(guest.net.mac, OUTSIDE, b"meanwhile"))
        assert (outside.drain(0.1), guest.net.drain(0.1)) == ([], [])
        mode(queue, 0)
        assert b"meanwhile" in outside.receive()
        assert b"meanwhile" in guest.net.receive()


def test_a_member_goes_on_by_its_own_parts(queue: AdminQueue, vf: Plugged, outside: Representor) -> None:
    """Its rings go on where memory says that they stand."""
    with SmallGuest(vf, ModernDriver) as guest:
        for mark in (b"one", b"two", b"three"):
            both_ways(guest, outside, mark)
        mode(queue, admin.MODE_STOPPED)
        taken = parts(queue)
        queue.ask(Opcode.DEV_PARTS_SET, admin.OBJECT.pack(0, SET) + taken, member=1)
        guest.net.send(frame(OUTSIDE, guest.net.mac, b"meanwhile"))
        mode(queue, 0)
        assert b"meanwhile" in outside.receive()
        for mark in (b"four", b"five"):
            both_ways(guest, outside, mark)
        mode(queue, admin.MODE_STOPPED)
        assert parts(queue) == taken
        mode(queue, 0)


def test_the_parts_say_what_the_driver_has_set(queue: AdminQueue, vf: Plugged) -> None:
    with SmallGuest(vf, ModernDriver) as guest:
        found = {part.kind: part for part in parsed(parts(queue))}
        assert found[PartType.DRV_FEATURES].value == guest.net.features.to_bytes(8, "little")
        assert found[PartType.DEVICE_STATUS].value == bytes([guest.net.status])
        assert encoded(parsed(parts(queue))) == parts(queue)


@pytest.mark.parametrize("restored", [False, True], ids=["saved", "restored"])
def test_a_member_that_its_owner_stopped_stays_so_while_the_operator_works_on_it(
    own_dpu: Dpu, queue: AdminQueue, vf: Plugged, outside: Representor, restored: bool
) -> None:
    with SmallGuest(vf, ModernDriver) as guest:
        mode(queue, admin.MODE_STOPPED)
        state = own_dpu.save(vf)
        if restored:
            own_dpu.restore(vf, state)
        guest.net.send(frame(OUTSIDE, guest.net.mac, b"meanwhile"))
        assert outside.drain(0.1) == []
        mode(queue, 0)
        assert b"meanwhile" in outside.receive()


def test_a_member_goes_on_when_neither_owner_nor_operator_stops_it(
    own_dpu: Dpu, queue: AdminQueue, vf: Plugged, outside: Representor
) -> None:
    with SmallGuest(vf, ModernDriver) as guest:
        mode(queue, admin.MODE_STOPPED)
        own_dpu.save(vf, stop=True)
        guest.net.send(frame(OUTSIDE, guest.net.mac, b"meanwhile"))
        mode(queue, 0)
        assert outside.drain(0.1) == []
        assert own_dpu.query(vf)["stopped"] == "1"
        own_dpu.resume(vf)
        while b"meanwhile" not in outside.receive():  # the device's own word of where its guest is now comes beside it
            pass


def test_the_operator_does_not_let_a_member_go_that_its_owner_stopped(
    own_dpu: Dpu, queue: AdminQueue, vf: Plugged
) -> None:
    with SmallGuest(vf, ModernDriver):
        mode(queue, admin.MODE_STOPPED)
        with pytest.raises(OperatorError, match="stopped by its owner, who alone lets it go on"):
            own_dpu.resume(vf)
        mode(queue, 0)
