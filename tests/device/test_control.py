"""What control commands change for the frames that follow (virtio 1.3 §5.1.6.5)."""

from collections.abc import Iterator

import pytest

from softdpu.spec import virtio_net as net
from softdpu.testkit import BROADCAST, LegacyDriver, ModernDriver, frame
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest

SOURCE = bytes.fromhex("02000000fffe")
STRANGER = bytes.fromhex("0200000000aa")
GROUP = bytes.fromhex("01005e000001")


@pytest.fixture(params=[LegacyDriver, ModernDriver], ids=lambda kind: kind.__name__)
def guest(request: pytest.FixtureRequest, device: Plugged) -> Iterator[SmallGuest]:
    """A guest that wants its own frames and broadcasts only."""
    with SmallGuest(device, request.param) as guest:
        assert guest.net.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\0") == net.OK
        yield guest


def passes(guest: SmallGuest, outside: Representor, destination: bytes, vlan: int | None = None) -> bool:
    """Whether the guest receives a frame with this destination; a frame of its own follows and must."""
    outside.send(frame(destination, SOURCE, b"question", vlan))
    outside.send(frame(guest.net.mac, SOURCE, b"after"))
    received = guest.net.receive()
    if b"question" not in received:
        assert b"after" in received
        return False
    assert b"after" in guest.net.receive()
    return True


def rx(guest: SmallGuest, command: int, on: bool) -> None:
    assert guest.net.control(net.CTRL_RX, command, bytes([on])) == net.OK


def test_own_address_and_broadcast_pass(guest: SmallGuest, outside: Representor) -> None:
    assert passes(guest, outside, guest.net.mac)
    assert passes(guest, outside, BROADCAST)


def test_strange_unicast_passes_when_promiscuous(guest: SmallGuest, outside: Representor) -> None:
    assert not passes(guest, outside, STRANGER)
    rx(guest, net.CTRL_RX_PROMISC, True)
    assert passes(guest, outside, STRANGER)


def test_strange_unicast_passes_with_all_unicast(guest: SmallGuest, outside: Representor) -> None:
    rx(guest, net.CTRL_RX_ALLUNI, True)
    assert passes(guest, outside, STRANGER)
    rx(guest, net.CTRL_RX_ALLUNI, False)
    assert not passes(guest, outside, STRANGER)


def test_multicast_passes_with_all_multicast(guest: SmallGuest, outside: Representor) -> None:
    rx(guest, net.CTRL_RX_ALLMULTI, True)
    assert passes(guest, outside, GROUP)
    rx(guest, net.CTRL_RX_ALLMULTI, False)
    assert not passes(guest, outside, GROUP)


def test_no_broadcast(guest: SmallGuest, outside: Representor) -> None:
    rx(guest, net.CTRL_RX_NOBCAST, True)
    assert not passes(guest, outside, BROADCAST)


def test_table_lets_its_addresses_pass(guest: SmallGuest, outside: Representor) -> None:
    """§5.1.6.5.2: unicast addresses, then multicast ones."""
    table = (1).to_bytes(4, "little") + STRANGER + (1).to_bytes(4, "little") + GROUP
    assert guest.net.control(net.CTRL_MAC, net.CTRL_MAC_TABLE_SET, table) == net.OK
    assert passes(guest, outside, STRANGER)
    assert passes(guest, outside, GROUP)
    assert guest.net.control(net.CTRL_MAC, net.CTRL_MAC_TABLE_SET, bytes(8)) == net.OK
    assert not passes(guest, outside, STRANGER)
    assert not passes(guest, outside, GROUP)


def test_address_is_changed_by_command(guest: SmallGuest, outside: Representor) -> None:
    former = guest.net.mac
    assert guest.net.control(net.CTRL_MAC, net.CTRL_MAC_ADDR_SET, STRANGER) == net.OK
    assert guest.net.mac == STRANGER
    assert passes(guest, outside, STRANGER)
    assert not passes(guest, outside, former)


def test_only_chosen_vlans_pass(guest: SmallGuest, outside: Representor) -> None:
    assert guest.net.control(net.CTRL_VLAN, net.CTRL_VLAN_ADD, (7).to_bytes(2, "little")) == net.OK
    assert passes(guest, outside, guest.net.mac, vlan=7)
    assert not passes(guest, outside, guest.net.mac, vlan=8)
    assert guest.net.control(net.CTRL_VLAN, net.CTRL_VLAN_DEL, (7).to_bytes(2, "little")) == net.OK
    assert not passes(guest, outside, guest.net.mac, vlan=7)


def test_filtered_frames_are_counted(dpu: Dpu, guest: SmallGuest, outside: Representor) -> None:
    before = dpu.counters(guest.device)["drop_filtered"]
    assert not passes(guest, outside, STRANGER)
    assert dpu.counters(guest.device)["drop_filtered"] == before + 1


def test_nothing_passes_while_the_link_is_down(dpu: Dpu, guest: SmallGuest, outside: Representor) -> None:
    dpu.modify(guest.device, link=0)
    guest.net.send(frame(BROADCAST, guest.net.mac, b"down"))
    assert outside.drain() == []
    dpu.modify(guest.device, link=1)
    guest.net.send(frame(BROADCAST, guest.net.mac, b"up"))
    assert b"up" in outside.receive()


def test_reset_forgets_every_filter(guest: SmallGuest, outside: Representor) -> None:
    rx(guest, net.CTRL_RX_NOBCAST, True)
    guest.net.reset()
    guest.net.start()
    assert passes(guest, outside, BROADCAST)
