"""Resource objects (virtio 1.4): device parts objects, each of one member and for one direction."""

from __future__ import annotations

from softdpu.spec import admin
from softdpu.spec.admin import Qualifier, Refused, Status, invalid
from softdpu.virtio.admin.call import Call
from softdpu.virtio.admin.state import PartsObject

Found = tuple[int, PartsObject]  # the id, and what is there


def create(call: Call) -> bytes | Refused:
    """RESOURCE_OBJ_CREATE: an id below the driver's limit for its direction that is not taken."""
    kind, object_id = call.fields(admin.OBJECT)
    sets = _direction(call)
    if isinstance(refused := _strange(kind) or sets, Refused):
        return refused
    if object_id in call.desk.state.objects:
        return Refused(Status.EEXIST, Qualifier.INVALID_FIELD, f"object {object_id} is there already")
    limit = call.desk.state.limits[bool(sets)]
    if object_id >= limit:
        return invalid(Qualifier.INVALID_FIELD, f"object {object_id} is beyond the driver's limit of {limit}")
    call.desk.state.objects[object_id] = PartsObject(call.number, bool(sets))
    return b""


def modify(call: Call) -> bytes | Refused:
    """RESOURCE_OBJ_MODIFY: the direction, within the limit of the other one."""
    there, sets = found(call), _direction(call)
    if isinstance(there, Refused):
        return there
    if isinstance(sets, Refused):
        return sets
    limit = call.desk.state.limits[sets]
    if there[0] >= limit:
        return invalid(Qualifier.INVALID_FIELD, f"object {there[0]} is beyond the driver's limit of {limit}")
    call.desk.state.objects[there[0]] = PartsObject(call.number, sets)
    return b""


def query(call: Call) -> bytes | Refused:
    """RESOURCE_OBJ_QUERY: as last created or modified."""
    there, (flags,) = found(call), call.fields(admin.OBJECT_FLAGS, admin.OBJECT.size)
    if isinstance(there, Refused):
        return there
    if flags:
        return _flagged(flags)
    return admin.PARTS_OBJECT.pack(admin.PARTS_TYPE_SET if there[1].sets else admin.PARTS_TYPE_GET)


def destroy(call: Call) -> bytes | Refused:
    """RESOURCE_OBJ_DESTROY."""
    there = found(call)
    if isinstance(there, Refused):
        return there
    del call.desk.state.objects[there[0]]
    return b""


def found(call: Call) -> Found | Refused:
    """The object that the data begins with. ENXIO also for one of another member."""
    kind, object_id = call.fields(admin.OBJECT)
    if refused := _strange(kind):
        return refused
    there = call.desk.state.objects.get(object_id)
    if there is None or there.member != call.number:
        why = f"member {call.number} has no object {object_id}"
        return Refused(Status.ENXIO, Qualifier.INVALID_FIELD, why)
    return object_id, there


def _strange(kind: int) -> Refused | None:
    if kind == admin.OBJ_DEV_PARTS:
        return None
    return invalid(Qualifier.INVALID_FIELD, f"no object has the type {kind:#x}")


def _direction(call: Call) -> bool | Refused:
    """Whether the object of CREATE or MODIFY sets parts. Flags are none: an unknown one cannot be heeded."""
    (flags,) = call.fields(admin.OBJECT_FLAGS, admin.OBJECT.size)
    (direction,) = call.fields(admin.PARTS_OBJECT, admin.OBJECT.size + admin.OBJECT_FLAGS.size)
    if flags:
        return _flagged(flags)
    if direction not in (admin.PARTS_TYPE_GET, admin.PARTS_TYPE_SET):
        return invalid(Qualifier.INVALID_FIELD, f"device parts are got or set, not {direction}")
    return bool(direction == admin.PARTS_TYPE_SET)


def _flagged(flags: int) -> Refused:
    return invalid(Qualifier.INVALID_FIELD, f"flags {flags:#x} are unknown")
