"""Garbage on the control queue (virtio 1.3 §5.1.6.5): the ack says ERR, or the queue stops; nothing else changes."""

import random

import pytest

from softdpu.spec import virtio_net as net
from softdpu.testkit import frame
from tests.dpu_under_test import Dpu
from tests.small_guest import SmallGuest

WRONG = {
    "class_alone": b"\0",
    "unknown_class": b"\xc8\0",
    "unknown_command": b"\0\xc8",
    "promiscuous_without_value": b"\0\0",
    "promiscuous_with_two_values": b"\0\0\1\1",
    "mac_too_short": b"\1\1\2\0\0",
    "mac_too_long": b"\1\1" + bytes(7),
    "table_without_counts": b"\1\0",
    "table_count_beyond_the_data": b"\1\0" + (1000).to_bytes(4, "little") + bytes(6),
    "table_count_that_overflows": b"\1\0" + b"\xff" * 8,
    "vlan_out_of_range": b"\2\0" + (4096).to_bytes(2, "little"),
    "vlan_cut_off": b"\2\0\1",
    "pairs_zero": b"\4\0\0\0",
    "pairs_too_many": b"\4\0" + (1000).to_bytes(2, "little"),
}


@pytest.mark.parametrize("request_", WRONG.values(), ids=WRONG.keys())
def test_refused(guest: SmallGuest, request_: bytes) -> None:
    assert guest.net.control_raw(request_) == net.ERR
    assert guest.net.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\1") == net.OK


def test_room_beyond_the_ack_stays_as_it_was(guest: SmallGuest) -> None:
    answer = guest.net.control_raw(b"\0\0\1", room=16)
    assert answer[:1] == net.OK


def test_no_room_for_the_ack(guest: SmallGuest) -> None:
    guest.net.control_raw(b"\0\0\1", room=0)
    assert guest.net.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\0") == net.OK


def test_no_request_at_all(guest: SmallGuest) -> None:
    assert guest.net.control_raw(b"", room=1) == net.ERR


def test_longest_address_table_there_can_be(guest: SmallGuest) -> None:
    addresses = b"".join((0x0200_0000_0000 + n).to_bytes(6) for n in range(5000))
    table = (5000).to_bytes(4, "little") + addresses + bytes(4)
    assert guest.net.control(net.CTRL_MAC, net.CTRL_MAC_TABLE_SET, table) in (net.OK, net.ERR)
    assert not guest.net.needs_reset


def test_command_of_a_megabyte(guest: SmallGuest) -> None:
    assert guest.net.control_raw(b"\0\0\1" + bytes(1 << 20)) == net.ERR
    assert guest.net.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\1") == net.OK


def test_more_addresses_than_a_command_is_read_for(dpu: Dpu, guest: SmallGuest) -> None:
    """Linux sends all that an administrator gave it."""
    groups = b"".join((0x0100_5E00_0000 + n).to_bytes(6) for n in range(20_000))
    table = bytes(4) + (20_000).to_bytes(4, "little") + groups
    assert guest.net.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\0") == net.OK
    assert guest.net.control(net.CTRL_MAC, net.CTRL_MAC_TABLE_SET, table) == net.OK
    with dpu.representor(guest.device) as outside:
        outside.send(frame(groups[-6:], bytes(6), b"for a group"))
        assert b"for a group" in guest.net.receive()


def test_noise(guest: SmallGuest) -> None:
    chance = random.Random(20)  # the same noise every time
    for _ in range(300):
        request = chance.randbytes(chance.randrange(1, 40))
        assert guest.net.control_raw(request, room=chance.randrange(1, 4))[:1] in (net.OK, net.ERR)
    assert not guest.net.needs_reset


def test_noise_in_known_commands(guest: SmallGuest) -> None:
    chance = random.Random(21)
    for _ in range(300):
        class_, command = chance.choice(list(net.COMMANDS))
        assert guest.net.control(class_, command, chance.randbytes(chance.randrange(20))) in (net.OK, net.ERR)
    assert not guest.net.needs_reset
