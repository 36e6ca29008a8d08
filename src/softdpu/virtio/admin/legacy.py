"""The legacy interface of a member, by way of its owner (virtio 1.3 §2.12.1.2)."""

from __future__ import annotations

from softdpu.spec import admin
from softdpu.spec.admin import Qualifier, Refused, invalid
from softdpu.virtio.admin.call import Call, Handler


def read(configuration: bool) -> Handler:
    """LEGACY_COMMON_CFG_READ, LEGACY_DEV_CFG_READ: as many bytes as the driver has room for."""

    def handler(call: Call) -> bytes | Refused:
        (offset,) = call.fields(admin.LEGACY_READ)
        data = call.member.legacy_read(configuration, offset, call.room) if call.room else None
        return _stray(configuration, offset, call.room) if data is None else data

    return handler


def write(configuration: bool) -> Handler:
    """LEGACY_COMMON_CFG_WRITE, LEGACY_DEV_CFG_WRITE: as many bytes as the driver sent."""

    def handler(call: Call) -> bytes | Refused:
        (offset,) = call.fields(admin.LEGACY_WRITE)
        data = call.data[admin.LEGACY_WRITE.size :]
        done = bool(data) and call.member.legacy_write(configuration, offset, data)
        return b"" if done else _stray(configuration, offset, len(data))

    return handler


def _stray(configuration: bool, offset: int, size: int) -> Refused:
    area = "device configuration" if configuration else "common configuration"
    return invalid(Qualifier.INVALID_FIELD, f"{size} bytes at {offset:#x} of the {area} are not of one field")


def notify_info(call: Call) -> bytes:
    """LEGACY_NOTIFY_INFO: where the member is notified; the last entry ends the list."""
    addresses = list(call.desk.group.notify_addresses(call.number))[: admin.NOTIFY_ENTRIES - 1]
    entries = [
        admin.NOTIFY_INFO.pack(admin.NOTIFY_OWNER if place.owner else admin.NOTIFY_MEMBER, place.bar, place.offset)
        for place in addresses
    ]
    return b"".join(entries).ljust(admin.NOTIFY_ENTRIES * admin.NOTIFY_INFO.size, b"\0")
