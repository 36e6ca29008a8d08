"""Device parts of a member, got and set, and its mode (virtio 1.4)."""

from __future__ import annotations

from softdpu.spec import admin
from softdpu.spec.admin import Qualifier, Refused, Status, invalid
from softdpu.virtio.admin.call import Call
from softdpu.virtio.admin.objects import found
from softdpu.virtio.parts import BrokenPart, Part, encoded, headers, parsed

_AFTER_SELECT = admin.OBJECT.size + admin.PARTS_SELECT.size


def metadata(call: Call) -> bytes | Refused:
    """DEV_PARTS_METADATA_GET: their size, their number, or their headers. ENOMEM where that does not fit."""
    if refused := _wrong_object(call, sets=False):
        return refused
    (kind,) = call.fields(admin.PARTS_SELECT, admin.OBJECT.size)
    if kind > admin.METADATA_LIST:
        return invalid(Qualifier.INVALID_FIELD, f"there is no metadata of type {kind}")
    result = _metadata(kind, call.member.parts())
    if len(result) > call.room:
        why = f"{len(result)} bytes of metadata do not fit {call.room}"
        return Refused(Status.ENOMEM, Qualifier.NORESOURCE, why)
    return result


def _metadata(kind: int, parts: tuple[Part, ...]) -> bytes:
    if kind == admin.METADATA_SIZE:
        return admin.METADATA.pack(len(encoded(parts)))
    heads = b"".join(part.head for part in parts) if kind == admin.METADATA_LIST else b""
    return admin.METADATA.pack(len(parts)) + heads


def get(call: Call) -> bytes | Refused:
    """DEV_PARTS_GET: all, or those named that are there; in the order of the specification either way."""
    if refused := _wrong_object(call, sets=False):
        return refused
    (kind,) = call.fields(admin.PARTS_SELECT, admin.OBJECT.size)
    parts = call.member.parts()
    if kind == admin.GET_ALL:
        return encoded(parts)
    if kind != admin.GET_SELECTED:
        return invalid(Qualifier.INVALID_FIELD, f"parts cannot be got in the way {kind}")
    try:
        wanted = set(headers(call.data[_AFTER_SELECT:]))
    except BrokenPart as error:
        return invalid(Qualifier.INVALID_FIELD, str(error))
    return encoded(part for part in parts if part.key in wanted)


def set_(call: Call) -> bytes | Refused:
    """DEV_PARTS_SET: all of what is given or nothing, while the member is stopped."""
    if refused := _wrong_object(call, sets=True):
        return refused
    if not call.member.stopped:
        return Refused(Status.EBUSY, Qualifier.INVALID_COMMAND, f"member {call.number} is not stopped")
    try:
        why = call.member.set_parts(parsed(call.data[admin.OBJECT.size :]))
    except BrokenPart as error:
        why = str(error)
    return invalid(Qualifier.INVALID_FIELD, why) if why else b""


def mode(call: Call) -> bytes | Refused:
    """DEV_MODE_SET: stopped or not; what it is already, it may be told again."""
    (flags,) = call.fields(admin.MODE)
    if flags & ~admin.MODE_STOPPED:
        return invalid(Qualifier.INVALID_FIELD, f"mode flags {flags:#x} are unknown")
    if bool(flags) != call.member.stopped:
        call.member.stop(bool(flags))
    return b""


def _wrong_object(call: Call, *, sets: bool) -> Refused | None:
    there = found(call)
    if isinstance(there, Refused):
        return there
    if there[1].sets != sets:
        return invalid(Qualifier.INVALID_FIELD, f"object {there[0]} is to {'get' if sets else 'set'} parts")
    return None
