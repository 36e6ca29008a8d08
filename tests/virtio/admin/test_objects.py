"""Capabilities and device parts objects (virtio 1.4)."""

import pytest

from softdpu.spec import admin
from softdpu.spec.admin import Opcode, Qualifier, Status
from softdpu.virtio.admin.capabilities import LIMITS
from tests.virtio.admin.desk import OK, SELF, Desk, Reply, refused

ENXIO = refused(Qualifier.INVALID_FIELD, Status.ENXIO)
INVALID = refused(Qualifier.INVALID_FIELD)


def limit(desk: Desk, gets: int, sets: int, capability: int = admin.DEV_PARTS_CAP) -> Reply:
    data = admin.CAP.pack(capability) + admin.PARTS_LIMITS.pack(gets, sets)
    return desk.send(Opcode.DRIVER_CAP_SET, data, group=SELF, member=0)


def create(desk: Desk, object_id: int, direction: int = 0, *, kind: int = 0, flags: int = 0, member: int = 1) -> Reply:
    data = admin.OBJECT.pack(kind, object_id) + admin.OBJECT_FLAGS.pack(flags) + admin.PARTS_OBJECT.pack(direction)
    return desk.send(Opcode.RESOURCE_OBJ_CREATE, data, member=member)


def query(desk: Desk, object_id: int, member: int = 1) -> Reply:
    return desk.send(Opcode.RESOURCE_OBJ_QUERY, admin.OBJECT.pack(0, object_id), member=member)


def test_the_capability_is_named_and_told(used: Desk) -> None:
    assert used.send(Opcode.CAP_ID_LIST_QUERY, group=SELF, member=0) == (*OK, b"\x01" + bytes(7))
    assert used.send(Opcode.DEVICE_CAP_GET, admin.CAP.pack(0), group=SELF, member=0) == (*OK, bytes(LIMITS))


@pytest.mark.parametrize("opcode", [Opcode.DEVICE_CAP_GET, Opcode.DRIVER_CAP_SET])
def test_a_capability_that_is_not_there(used: Desk, opcode: int) -> None:
    assert used.send(opcode, admin.CAP.pack(0x800), group=SELF, member=0) == ENXIO


def test_no_object_before_the_driver_has_set_its_capability(used: Desk) -> None:
    """The device should treat the limits as zero until then."""
    assert create(used, 0) == INVALID


def test_limits_above_the_devices(used: Desk) -> None:
    assert limit(used, LIMITS[0] + 1, 0) == INVALID
    assert limit(used, *LIMITS)[:2] == OK


def test_each_direction_has_its_limit(used: Desk) -> None:
    limit(used, 3, 1)
    assert create(used, 2, admin.PARTS_TYPE_GET)[:2] == OK
    assert create(used, 3, admin.PARTS_TYPE_GET) == INVALID
    assert create(used, 1, admin.PARTS_TYPE_SET) == INVALID
    assert create(used, 0, admin.PARTS_TYPE_SET)[:2] == OK


def test_an_id_that_is_taken(used: Desk) -> None:
    """Ids are unique in the owner, whichever member an object is of."""
    limit(used, 2, 2)
    create(used, 0)
    assert create(used, 0, member=2) == refused(Qualifier.INVALID_FIELD, Status.EEXIST)


@pytest.mark.parametrize("wrong", [{"kind": 1}, {"flags": 1}, {"flags": 1 << 63}, {"direction": 2}])
def test_an_object_that_cannot_be(used: Desk, wrong: dict[str, int]) -> None:
    limit(used, 2, 2)
    assert create(used, 0, **wrong) == INVALID
    assert query(used, 0) == ENXIO


def test_an_object_is_told_as_it_was_made_or_modified(used: Desk) -> None:
    limit(used, 2, 2)
    create(used, 1, admin.PARTS_TYPE_SET)
    assert query(used, 1) == (*OK, admin.PARTS_OBJECT.pack(admin.PARTS_TYPE_SET))
    data = admin.OBJECT.pack(0, 1) + bytes(8) + admin.PARTS_OBJECT.pack(admin.PARTS_TYPE_GET)
    assert used.send(Opcode.RESOURCE_OBJ_MODIFY, data)[:2] == OK
    assert query(used, 1) == (*OK, admin.PARTS_OBJECT.pack(admin.PARTS_TYPE_GET))


def test_a_modification_beyond_the_limit_changes_nothing(used: Desk) -> None:
    limit(used, 2, 1)
    create(used, 1, admin.PARTS_TYPE_GET)
    data = admin.OBJECT.pack(0, 1) + bytes(8) + admin.PARTS_OBJECT.pack(admin.PARTS_TYPE_SET)
    assert used.send(Opcode.RESOURCE_OBJ_MODIFY, data) == INVALID
    assert query(used, 1) == (*OK, admin.PARTS_OBJECT.pack(admin.PARTS_TYPE_GET))


def test_a_destroyed_object_is_gone_and_its_id_free(used: Desk) -> None:
    limit(used, 2, 2)
    create(used, 1)
    assert used.send(Opcode.RESOURCE_OBJ_DESTROY, admin.OBJECT.pack(0, 1))[:2] == OK
    assert used.send(Opcode.RESOURCE_OBJ_DESTROY, admin.OBJECT.pack(0, 1)) == ENXIO
    assert create(used, 1)[:2] == OK


@pytest.mark.parametrize(
    "opcode", [Opcode.RESOURCE_OBJ_MODIFY, Opcode.RESOURCE_OBJ_QUERY, Opcode.RESOURCE_OBJ_DESTROY, Opcode.DEV_PARTS_GET]
)
def test_an_object_of_another_member(used: Desk, opcode: int) -> None:
    limit(used, 2, 2)
    create(used, 1)
    assert used.send(opcode, admin.OBJECT.pack(0, 1) + bytes(16), member=2) == ENXIO


def test_limits_are_not_lowered_below_what_is_there(used: Desk) -> None:
    limit(used, 2, 2)
    create(used, 1)
    assert limit(used, 1, 2) == refused(Qualifier.INVALID_FIELD, Status.EBUSY)
    assert limit(used, 2, 0)[:2] == OK


def test_a_member_that_goes_takes_its_objects_along(used: Desk) -> None:
    limit(used, 2, 2)
    create(used, 0)
    create(used, 1, member=2)
    used.owner.forget_member(1)
    assert query(used, 0) == ENXIO
    assert query(used, 1, member=2)[:2] == OK


def test_a_reset_destroys_objects_and_capabilities(used: Desk) -> None:
    limit(used, 2, 2)
    create(used, 0)
    used.owner.reset()
    used.use()
    assert query(used, 0) == ENXIO
    assert create(used, 0) == INVALID
