"""Device and driver capabilities (virtio 1.4): here the limits of device parts objects, and no other."""

from __future__ import annotations

from softdpu.spec import admin
from softdpu.spec.admin import LIST_WORD, Qualifier, Refused, Status, invalid
from softdpu.virtio.admin.call import Call

LIMITS = (128, 128)  # objects that get parts, and that set them: one of each for every VF that a PF can have


def query(_call: Call) -> bytes:
    """CAP_ID_LIST_QUERY."""
    return LIST_WORD.pack(1 << admin.DEV_PARTS_CAP)


def get(call: Call) -> bytes | Refused:
    """DEVICE_CAP_GET."""
    return _unknown(call) or admin.PARTS_LIMITS.pack(*LIMITS)


def set_(call: Call) -> bytes | Refused:
    """DRIVER_CAP_SET: at most what the device has, and room for every object that is there."""
    if refused := _unknown(call):
        return refused
    gets, sets = call.fields(admin.PARTS_LIMITS, admin.CAP.size)
    if gets > LIMITS[0] or sets > LIMITS[1]:
        return invalid(Qualifier.INVALID_FIELD, f"limits of {gets} and {sets} are above the device's")
    for object_id, there in call.desk.state.objects.items():
        if object_id >= (sets if there.sets else gets):
            why = f"object {object_id} is still there, beyond the new limit"
            return Refused(Status.EBUSY, Qualifier.INVALID_FIELD, why)
    call.desk.state.limits = gets, sets
    return b""


def _unknown(call: Call) -> Refused | None:
    (capability,) = call.fields(admin.CAP)
    if capability == admin.DEV_PARTS_CAP:
        return None
    return Refused(Status.ENXIO, Qualifier.INVALID_FIELD, f"there is no capability {capability:#x}")
