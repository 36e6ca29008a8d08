"""Device parts and modes of members (virtio 1.4)."""

from collections.abc import Callable

import pytest

from softdpu.net.device import Function
from softdpu.net.parts import parts_of
from softdpu.net.state import FunctionState
from softdpu.spec import admin
from softdpu.spec import features as f
from softdpu.spec import virtio_net as n
from softdpu.spec.admin import NO_SELECTOR, Opcode, PartType, Qualifier, Status
from softdpu.virtio.effects import Freeze, RaiseConfig, Reset, StartQueue
from softdpu.virtio.parts import Part, encoded, parsed
from tests.virtio.admin.desk import OK, SELF, Desk, Legacy, Reply, VirtualFunctions, refused
from tests.virtio.drivers import Modern

INVALID = refused(Qualifier.INVALID_FIELD)
GET, SET = 0, 1  # ids of the objects


def prepare(desk: Desk) -> None:
    """Objects for member 1 in both directions, and for member 2 to set."""
    desk.use()
    limits = admin.CAP.pack(0) + admin.PARTS_LIMITS.pack(8, 8)
    desk.send(Opcode.DRIVER_CAP_SET, limits, group=SELF, member=0)
    for object_id, member in ((GET, 1), (SET, 1), (2, 2)):
        direction = admin.PARTS_OBJECT.pack(object_id != GET)
        desk.send(Opcode.RESOURCE_OBJ_CREATE, admin.OBJECT.pack(0, object_id) + bytes(8) + direction, member=member)


@pytest.fixture
def ready(desk: Desk) -> Desk:
    """An owner with such objects."""
    prepare(desk)
    return desk


def metadata(desk: Desk, kind: int, room: int = 4096) -> Reply:
    data = admin.OBJECT.pack(0, GET) + admin.PARTS_SELECT.pack(kind)
    return desk.send(Opcode.DEV_PARTS_METADATA_GET, data, room)


def get(desk: Desk, *heads: bytes) -> list[Part]:
    kind = admin.GET_SELECTED if heads else admin.GET_ALL
    data = admin.OBJECT.pack(0, GET) + admin.PARTS_SELECT.pack(kind) + b"".join(heads)
    status, qualifier, result = desk.send(Opcode.DEV_PARTS_GET, data, 65536)
    assert (status, qualifier) == OK
    return parsed(result)


def set_(desk: Desk, data: bytes, *, member: int = 1, object_id: int = SET) -> Reply:
    return desk.send(Opcode.DEV_PARTS_SET, admin.OBJECT.pack(0, object_id) + data, member=member)


def mode(desk: Desk, flags: int, member: int = 1) -> Reply:
    return desk.send(Opcode.DEV_MODE_SET, admin.MODE.pack(flags), member=member)


def running(function: Function) -> Modern:
    """A modern driver, as far as control commands for everything."""
    driver = Modern(function)
    driver.bring_up()
    for command in (
        b"\0\0\0",
        bytes((n.CTRL_MAC, n.CTRL_MAC_ADDR_SET)) + b"\x02\0\0\0\0\x11",
        bytes((n.CTRL_MAC, 0)) + b"\1\0\0\0\x02\0\0\0\0\x22" + b"\1\0\0\0\x33\x33\0\0\0\1",
        bytes((n.CTRL_VLAN, 0)) + b"\x07\0",
        bytes((n.CTRL_MQ, n.CTRL_MQ_HASH_CONFIG)) + n.HASH_HEAD.pack(7, 2) + b"ke",
        bytes((n.CTRL_GUEST_OFFLOADS, 0)) + (1 << f.NET_GUEST_CSUM).to_bytes(8, "little"),
        bytes((n.CTRL_NOTF_COAL, 0)) + n.COAL.pack(8, 50),
    ):
        assert function.command(2, command, 1)[0] == n.OK, command.hex()
    return driver


def comparable(state: FunctionState) -> object:
    """What can be seen of a state: values that were never set are those that they default to."""
    return state.virtio.mode, parts_of(state)


# ---- what is told


def test_parts_are_told_in_the_order_of_the_specification(ready: Desk) -> None:
    running(ready.function())
    kinds = [part.kind for part in get(ready)]
    assert kinds == sorted(kinds)
    assert set(kinds) == set(PartType)


def test_metadata_fits_the_parts(ready: Desk) -> None:
    parts = get(ready)
    size = admin.METADATA.unpack(metadata(ready, admin.METADATA_SIZE)[2])[0]
    assert size == len(encoded(parts))
    assert admin.METADATA.unpack(metadata(ready, admin.METADATA_COUNT)[2])[0] == len(parts)
    listed = metadata(ready, admin.METADATA_LIST)[2]
    assert listed == admin.METADATA.pack(len(parts)) + b"".join(part.head for part in parts)


def test_metadata_that_does_not_fit(ready: Desk) -> None:
    for kind in (admin.METADATA_SIZE, admin.METADATA_COUNT, admin.METADATA_LIST):
        assert metadata(ready, kind, room=7) == refused(Qualifier.NORESOURCE, Status.ENOMEM)
    assert metadata(ready, 3) == INVALID


def test_selected_parts_in_any_order_come_in_order_and_unknown_ones_not_at_all(ready: Desk) -> None:
    status, features = (Part(kind, NO_SELECTOR, b"") for kind in (PartType.DEVICE_STATUS, PartType.DEV_FEATURES))
    found = get(ready, status.head, Part(0x1FF, NO_SELECTOR, b"").head, features.head)
    assert [part.kind for part in found] == [PartType.DEV_FEATURES, PartType.DEVICE_STATUS]


def test_a_selection_that_is_cut_off(ready: Desk) -> None:
    data = admin.OBJECT.pack(0, GET) + admin.PARTS_SELECT.pack(admin.GET_SELECTED) + b"\0\1\0"
    assert ready.send(Opcode.DEV_PARTS_GET, data, 4096) == INVALID


def test_parts_are_got_in_two_ways_only(ready: Desk) -> None:
    data = admin.OBJECT.pack(0, GET) + admin.PARTS_SELECT.pack(2)
    assert ready.send(Opcode.DEV_PARTS_GET, data, 4096) == INVALID


def test_an_object_serves_one_direction(ready: Desk) -> None:
    data = admin.OBJECT.pack(0, SET) + admin.PARTS_SELECT.pack(admin.GET_ALL)
    assert ready.send(Opcode.DEV_PARTS_GET, data, 4096) == INVALID
    mode(ready, admin.MODE_STOPPED)
    assert set_(ready, b"", object_id=GET) == INVALID


# ---- modes


def test_a_stopped_member_begins_nothing_and_goes_on(ready: Desk) -> None:
    effects = ready.group.effects[0]
    running(ready.function())
    assert mode(ready, admin.MODE_STOPPED)[:2] == OK
    assert effects == [Freeze(True)]
    assert mode(ready, 0)[:2] == OK
    assert effects == [Freeze(True), Freeze(False)]


def test_the_driver_is_told_of_a_change_once_the_member_goes_on(ready: Desk) -> None:
    function, effects = ready.function(), ready.group.effects[0]
    running(function)
    mode(ready, admin.MODE_STOPPED)
    assert RaiseConfig() not in list(function.set_link(False))
    mode(ready, 0)
    assert effects[-2:] == [Freeze(False), RaiseConfig()]


def test_a_mode_may_be_set_again(ready: Desk) -> None:
    for flags in (0, admin.MODE_STOPPED, admin.MODE_STOPPED, 0, 0):
        assert mode(ready, flags)[:2] == OK
    assert ready.group.effects[0] == [Freeze(True), Freeze(False)]


@pytest.mark.parametrize("flags", [2, 3, 0x80])
def test_unknown_mode_flags(ready: Desk, flags: int) -> None:
    assert mode(ready, flags) == INVALID
    assert not ready.function().state.virtio.stopped


def test_a_function_level_reset_lets_a_member_go(ready: Desk) -> None:
    """Linux's virtio_vfio_pci takes a device that was reset for a running one."""
    mode(ready, admin.MODE_STOPPED)
    assert Freeze(False) in list(ready.function().reset())
    assert not ready.function().state.virtio.stopped


def test_a_reset_by_the_driver_does_not(ready: Desk) -> None:
    mode(ready, admin.MODE_STOPPED)
    Modern(ready.function()).write("device_status", 0)
    assert ready.function().state.virtio.stopped


# ---- what is set


@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
def test_a_member_becomes_another_by_its_parts(ready: Desk, legacy: bool) -> None:
    if legacy:
        Legacy(ready).bring_up()
    else:
        running(ready.function())
    parts = get(ready)
    mode(ready, admin.MODE_STOPPED, member=2)
    assert set_(ready, encoded(parts), member=2, object_id=2)[:2] == OK
    ready.group.effects[1].clear()
    assert mode(ready, 0, member=2)[:2] == OK
    assert comparable(ready.function(2).state) == comparable(ready.function(1).state)
    started = [effect for effect in ready.group.effects[1] if isinstance(effect, StartQueue)]
    assert [start.queue for start in started] == [0, 1, 2]
    assert all(start.resume for start in started)


def test_set_parts_wait_until_the_member_goes_on(ready: Desk) -> None:
    running(ready.function())
    parts = get(ready)
    mode(ready, admin.MODE_STOPPED, member=2)
    set_(ready, encoded(parts), member=2, object_id=2)
    assert ready.group.effects[1] == [Freeze(True), Reset()]


def test_parts_may_come_in_several_commands_and_again(ready: Desk) -> None:
    running(ready.function())
    parts = get(ready)
    mode(ready, admin.MODE_STOPPED, member=2)
    for part in [*parts, *parts]:
        assert set_(ready, encoded([part]), member=2, object_id=2)[:2] == OK, part.name
    mode(ready, 0, member=2)
    assert comparable(ready.function(2).state) == comparable(ready.function(1).state)


def test_parts_of_a_running_member_cannot_be_set(ready: Desk) -> None:
    assert set_(ready, encoded(get(ready))) == refused(Qualifier.INVALID_COMMAND, Status.EBUSY)


def test_an_unknown_part_is_skipped_only_if_it_is_optional(ready: Desk) -> None:
    mode(ready, admin.MODE_STOPPED)
    assert set_(ready, encoded([Part(0x2FF, NO_SELECTOR, b"x")])) == INVALID
    assert set_(ready, encoded([Part(0x2FF, NO_SELECTOR, b"x", optional=True)]))[:2] == OK


def replaced(parts: list[Part], kind: PartType, value: bytes) -> list[Part]:
    at = next(n for n, part in enumerate(parts) if part.kind == kind)
    return [*parts[:at], parts[at]._replace(value=value), *parts[at + 1 :]]


Wrong = Callable[[list[Part]], list[Part]]
WRONG: dict[str, Wrong] = {
    "features_of_another_device": lambda parts: replaced(parts, PartType.DEV_FEATURES, bytes(8)),
    "features_not_offered": lambda parts: replaced(parts, PartType.DRV_FEATURES, b"\xff" * 8),
    "features_cut_off": lambda parts: replaced(parts, PartType.DRV_FEATURES, bytes(4)),
    "features_too_long": lambda parts: replaced(parts, PartType.DRV_FEATURES, bytes(16)),
    "another_select_register": lambda parts: [Part(PartType.PCI_COMMON_CFG, admin.FIELD_SELECTOR.pack(4), bytes(4))],
    "half_a_register": lambda parts: [Part(PartType.PCI_COMMON_CFG, admin.FIELD_SELECTOR.pack(0x16), b"\0")],
    "another_number_of_queues": lambda parts: [
        Part(PartType.PCI_COMMON_CFG, admin.FIELD_SELECTOR.pack(0x12), b"\x09\0")
    ],
    "a_vector_that_is_not_there": lambda parts: [
        Part(PartType.PCI_COMMON_CFG, admin.FIELD_SELECTOR.pack(0x10), b"\x99\0")
    ],
    "a_status_that_cannot_be": lambda parts: replaced(parts, PartType.DEVICE_STATUS, b"\x30"),
    "a_status_without_its_features": lambda parts: [Part(PartType.DEVICE_STATUS, NO_SELECTOR, b"\x0f")],
    "a_queue_that_is_not_there": lambda parts: [Part(PartType.VQ_CFG, admin.QUEUE_SELECTOR.pack(99), bytes(32))],
    "a_queue_of_size_3": lambda parts: replaced(parts, PartType.VQ_CFG, admin.VQ_CFG.pack(3, 0, 1, 0, 0, 4096, 8192)),
    "a_queue_across_the_end_of_memory": lambda parts: replaced(
        parts, PartType.VQ_CFG, admin.VQ_CFG.pack(256, 0, 1, 0, (1 << 64) - 16, 4096, 8192)
    ),
    "a_queue_enabled_twice": lambda parts: replaced(
        parts, PartType.VQ_CFG, admin.VQ_CFG.pack(256, 0, 2, 0, 0, 4096, 8192)
    ),
    "another_notification": lambda parts: replaced(parts, PartType.VQ_NOTIFY_CFG, b"\x05\0" + bytes(6)),
    "out_of_order": lambda parts: parts[::-1],
    "there_twice": lambda parts: [*parts, parts[-1]],
    "a_command_that_is_none": lambda parts: [
        *parts,
        Part(PartType.NET_CVQ_CFG, admin.COMMAND_SELECTOR.pack(200, 9), b"\1"),
    ],
    "a_value_that_no_command_takes": lambda parts: [
        Part(PartType.NET_CVQ_CFG, admin.COMMAND_SELECTOR.pack(n.CTRL_VLAN, n.CTRL_VLAN_ADD), b"\1")
    ],
    "an_address_of_a_group": lambda parts: [
        Part(PartType.NET_CVQ_CFG, admin.COMMAND_SELECTOR.pack(n.CTRL_MAC, n.CTRL_MAC_ADDR_SET), b"\x01\0\0\0\0\0")
    ],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_parts_that_cannot_be_change_nothing(ready: Desk, wrong: str) -> None:
    running(ready.function())
    parts = WRONG[wrong](get(ready))
    mode(ready, admin.MODE_STOPPED, member=2)
    before = comparable(ready.function(2).state)
    assert set_(ready, encoded(parts), member=2, object_id=2) == INVALID
    assert comparable(ready.function(2).state) == before
    assert ready.group.effects[1] == [Freeze(True)]


@pytest.mark.parametrize("cut", [2, 7, 15, 16, 17, 23])
def test_parts_that_are_cut_off(ready: Desk, cut: int) -> None:
    mode(ready, admin.MODE_STOPPED)
    assert set_(ready, encoded(get(ready)[:1])[:cut]) == INVALID


def test_a_part_longer_than_everything(ready: Desk) -> None:
    mode(ready, admin.MODE_STOPPED)
    head = admin.PART.pack(PartType.DRV_FEATURES, 0, NO_SELECTOR, 0xFFFFFFFF)
    assert set_(ready, head + bytes(64)) == INVALID


def test_unknown_flags_of_a_part(ready: Desk) -> None:
    mode(ready, admin.MODE_STOPPED)
    head = admin.PART.pack(PartType.DEVICE_STATUS, 2, NO_SELECTOR, 1)
    assert set_(ready, head + b"\0") == INVALID


def test_zeros_up_to_64_bits_are_padding(ready: Desk) -> None:
    mode(ready, admin.MODE_STOPPED)
    part = Part(PartType.DEVICE_STATUS, NO_SELECTOR, b"\0")
    assert set_(ready, encoded([part]) + bytes(7))[:2] == OK


def test_where_a_packed_ring_stands_cannot_be_told() -> None:
    desk = Desk(VirtualFunctions(packed_vq=True))
    prepare(desk)
    Modern(desk.function()).bring_up()
    parts = encoded(get(desk))
    mode(desk, admin.MODE_STOPPED, member=2)
    assert set_(desk, parts, member=2, object_id=2) == INVALID
    assert "where a packed ring stands" in str(desk.owner.trace[-1])
