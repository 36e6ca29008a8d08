"""The legacy interface of a member through its owner (virtio 1.3 §2.12.1.2)."""

import pytest

from softdpu.spec import admin
from softdpu.spec.admin import Opcode, Qualifier
from softdpu.virtio.effects import Kick, StartQueue
from tests.virtio.admin.desk import OK, PLACES, Desk, Legacy, refused
from tests.virtio.drivers import MAC, enable_msix

WRITE, READ = Opcode.LEGACY_COMMON_CFG_WRITE, Opcode.LEGACY_COMMON_CFG_READ
DEV_WRITE, DEV_READ = Opcode.LEGACY_DEV_CFG_WRITE, Opcode.LEGACY_DEV_CFG_READ


@pytest.fixture
def driver(used: Desk) -> Legacy:
    return Legacy(used)


def test_a_legacy_driver_comes_up_by_commands_alone(driver: Legacy) -> None:
    driver.bring_up()
    assert driver.desk.function().transitional_mode == "legacy"
    started = [effect for effect in driver.desk.group.effects[0] if isinstance(effect, StartQueue)]
    assert [(queue.queue, queue.descriptor) for queue in started] == [(n, 0x1000000 * (n + 1)) for n in range(3)]


def test_other_members_are_not_touched(driver: Legacy) -> None:
    driver.bring_up()
    assert driver.desk.function(2).status == 0
    assert driver.desk.group.effects[1] == []


def test_queue_notify_kicks(driver: Legacy) -> None:
    driver.bring_up()
    driver.write("queue_notify", 1)
    assert driver.desk.group.effects[0][-1] == Kick(1)


def test_vectors_are_there_while_msix_is_enabled(driver: Legacy) -> None:
    """§4.1.4.10: the two fields follow only then."""
    assert driver.desk.send(READ, b"\x14", room=2) == refused(Qualifier.INVALID_FIELD)
    enable_msix(driver.desk.function())
    driver.write("config_msix_vector", 1)
    assert driver.read("config_msix_vector") == 1


def test_configuration_begins_at_zero_with_and_without_msix(driver: Legacy) -> None:
    for on in (False, True):
        enable_msix(driver.desk.function(), on)
        assert driver.desk.send(DEV_READ, b"\0", room=6) == (*OK, MAC)


def test_a_field_may_be_read_in_pieces(driver: Legacy) -> None:
    assert [driver.desk.send(DEV_READ, bytes([at]), room=1)[2] for at in range(6)] == [bytes([byte]) for byte in MAC]


def test_a_driver_sets_its_address(driver: Legacy) -> None:
    driver.write("device_status", 1)
    for at, byte in enumerate(b"\x02\0\0\0\0\x09"):
        assert driver.desk.send(DEV_WRITE, admin.LEGACY_WRITE.pack(at) + bytes([byte]))[:2] == OK
    assert driver.desk.send(DEV_READ, b"\0", room=6)[2] == b"\x02\0\0\0\0\x09"


@pytest.mark.parametrize(
    ("opcode", "offset", "size"),
    [
        (READ, 0x00, 0),
        (READ, 0x00, 8),  # two fields
        (READ, 0x02, 4),  # across two
        (READ, 0x13, 2),  # out of the last
        (READ, 0x18, 1),  # the device configuration is not part of it
        (READ, 0xFF, 1),
        (DEV_READ, 0x00, 8),
        (DEV_READ, 0x05, 2),
        (DEV_READ, 0x18, 1),
        (DEV_READ, 0xFF, 64),
    ],
)
def test_a_read_of_more_or_less_than_a_field(used: Desk, opcode: int, offset: int, size: int) -> None:
    enable_msix(used.function(), on=False)
    assert used.send(opcode, bytes([offset]), room=size) == refused(Qualifier.INVALID_FIELD)


@pytest.mark.parametrize(
    ("opcode", "offset", "size"),
    [(WRITE, 0x12, 0), (WRITE, 0x12, 2), (WRITE, 0x0E, 4), (WRITE, 0x14, 2), (DEV_WRITE, 0x04, 4), (DEV_WRITE, 24, 1)],
)
def test_a_write_of_more_or_less_than_a_field(used: Desk, opcode: int, offset: int, size: int) -> None:
    before = used.function().status
    data = admin.LEGACY_WRITE.pack(offset) + b"\1" * size
    assert used.send(opcode, data) == refused(Qualifier.INVALID_FIELD)
    assert used.function().status == before


def test_a_write_without_even_an_offset(used: Desk) -> None:
    assert used.send(WRITE) == refused(Qualifier.INVALID_FIELD)


def test_notify_info_lists_addresses_and_ends(used: Desk) -> None:
    status, qualifier, result = used.send(Opcode.LEGACY_NOTIFY_INFO)
    entries = list(admin.NOTIFY_INFO.iter_unpack(result))
    assert (status, qualifier) == OK
    assert entries == [
        (admin.NOTIFY_OWNER, PLACES[0].bar, PLACES[0].offset),
        (admin.NOTIFY_MEMBER, PLACES[1].bar, PLACES[1].offset),
        (admin.NOTIFY_END, 0, 0),
        (admin.NOTIFY_END, 0, 0),
    ]
