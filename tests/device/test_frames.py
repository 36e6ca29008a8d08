"""Frames between a guest, its representor and another guest."""

import os

import pytest

from softdpu.spec import features as f
from softdpu.testkit import ALL_FEATURES, BROADCAST, Driver, LegacyDriver, ModernDriver, frame
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest

ELSEWHERE = bytes.fromhex("02000000fffe")
LONGEST = 1514


def test_guest_to_representor(guest: SmallGuest, outside: Representor) -> None:
    for number in range(200):
        sent = frame(ELSEWHERE, guest.net.mac, b"%d" % number)
        guest.net.send(sent)
        assert outside.receive() == sent


def test_representor_to_guest(guest: SmallGuest, outside: Representor) -> None:
    for number in range(200):
        sent = frame(guest.device.mac, ELSEWHERE, b"%d" % number)
        outside.send(sent)
        assert guest.net.receive() == sent


def test_burst_arrives_whole_and_in_order(guest: SmallGuest, outside: Representor) -> None:
    sent = [frame(ELSEWHERE, guest.device.mac, b"%05d" % number) for number in range(1000)]
    guest.net.send_batch(sent)
    assert [outside.receive() for _ in sent] == sent


def test_more_frames_than_the_ring_index_counts(guest: SmallGuest, outside: Representor) -> None:
    sent = frame(ELSEWHERE, guest.device.mac, b"many")
    for _ in range(0x1_0100 // 64):
        guest.net.send_batch([sent] * 64)
        for _ in range(64):
            outside.receive()
    guest.net.send(sent)
    assert outside.receive() == sent


@pytest.mark.parametrize("length", [14, 15, 59, 60, 61, 64, 128, 1513, 1514])
def test_every_length_is_kept(guest: SmallGuest, outside: Representor, length: int) -> None:
    payload = os.urandom(length - 14)
    sent = ELSEWHERE + guest.device.mac + b"\x88\xb5" + payload
    guest.net.send(sent)
    assert outside.receive()[:length] == sent
    back = guest.device.mac + ELSEWHERE + b"\x88\xb5" + payload
    outside.send(back)
    assert guest.net.receive()[:length] == back


@pytest.mark.parametrize("pieces", [[10], [12], [1], [10, 1], [3, 3, 3, 20], [1] * 16])
def test_header_and_frame_are_cut_anywhere(guest: SmallGuest, outside: Representor, pieces: list[int]) -> None:
    """virtio 1.3 §2.7.4.2 and, for legacy, ANY_LAYOUT: a chain is a run of bytes."""
    sent = frame(ELSEWHERE, guest.device.mac, b"in pieces")
    rest = guest.net.header + len(sent) - sum(pieces)
    guest.net.send(sent, pieces=[*pieces, rest])
    assert outside.receive() == sent


def test_received_header_has_no_offload(guest: SmallGuest, outside: Representor) -> None:
    outside.send(frame(guest.device.mac, ELSEWHERE))
    header, _ = guest.net.receive_with_header()
    assert header[:10] == bytes(10)
    assert header[10:] in (b"", b"\1\0")


VARIANTS = {
    "no_mergeable_buffers": f.NET_MRG_RXBUF,
    "no_event_index": f.EVENT_IDX,
    "no_indirect": f.INDIRECT_DESC,
    "no_any_layout": f.ANY_LAYOUT,
    "no_control_queue": f.NET_CTRL_VQ,
}


@pytest.mark.parametrize("missing", VARIANTS.values(), ids=VARIANTS.keys())
@pytest.mark.parametrize("kind", [LegacyDriver, ModernDriver])
def test_driver_without_a_feature(device: Plugged, outside: Representor, kind: type[Driver], missing: int) -> None:
    wanted = ALL_FEATURES & ~f.mask_of(missing)
    if missing == f.NET_CTRL_VQ:
        needing = (f.NET_CTRL_RX, f.NET_CTRL_VLAN, f.NET_CTRL_RX_EXTRA, f.NET_GUEST_ANNOUNCE, f.NET_MQ)
        wanted &= ~f.mask_of(*needing, f.NET_CTRL_MAC_ADDR)
    with SmallGuest(device, kind, wanted=wanted) as guest:
        sent = frame(ELSEWHERE, guest.net.mac, bytes(LONGEST - 14))
        guest.net.send(sent)
        assert outside.receive() == sent
        outside.send(frame(guest.net.mac, ELSEWHERE, b"back"))
        assert b"back" in guest.net.receive()


@pytest.mark.parametrize("kind", [LegacyDriver, ModernDriver])
@pytest.mark.parametrize("room", [64, 100, 128, 1000])
def test_long_frame_takes_several_mergeable_buffers(
    device: Plugged, outside: Representor, kind: type[Driver], room: int
) -> None:
    """virtio 1.3 §5.1.6.4: num_buffers."""
    with SmallGuest(device, kind, buffer_size=room) as guest:
        for _ in range(20):
            sent = guest.net.mac + ELSEWHERE + b"\x88\xb5" + os.urandom(LONGEST - 14)
            outside.send(sent)
            header, received = guest.net.receive_with_header()
            assert received == sent
            assert int.from_bytes(header[10:], "little") == -(-(len(sent) + 12) // room)


def test_frame_that_does_not_fit_the_buffers_posted(dpu: Dpu, device: Plugged, outside: Representor) -> None:
    """Without mergeable buffers a frame longer than its buffer is dropped; the next one passes."""
    with SmallGuest(device, ModernDriver, buffer_size=128, wanted=ALL_FEATURES & ~f.mask_of(f.NET_MRG_RXBUF)) as guest:
        outside.send(frame(guest.net.mac, ELSEWHERE, bytes(1000)))
        outside.send(frame(guest.net.mac, ELSEWHERE, b"short"))
        assert b"short" in guest.net.receive()
        assert not guest.net.needs_reset


def test_guest_to_guest_goes_straight(guest: SmallGuest, outside: Representor, neighbour: Plugged) -> None:
    """Known unicast is copied from ring to ring, once, and not seen by anybody else."""
    with SmallGuest(neighbour) as other:
        other.net.send(frame(BROADCAST, neighbour.mac, b"here I am"))
        assert b"here I am" in guest.net.receive()
        outside.drain()
        for number in range(100):
            sent = frame(neighbour.mac, guest.device.mac, b"%d" % number)
            guest.net.send(sent)
            assert other.net.receive() == sent
        assert outside.drain() == []


def test_unknown_unicast_goes_to_the_representor(guest: SmallGuest, outside: Representor, neighbour: Plugged) -> None:
    with SmallGuest(neighbour) as other:
        assert other.net.control(0, 0, b"\0") == b"\0"  # not promiscuous
        sent = frame(ELSEWHERE, guest.device.mac)
        guest.net.send(sent)
        assert outside.receive() == sent
        assert other.net.drain() == []


def test_broadcast_reaches_everybody_but_the_sender(
    dpu: Dpu, guest: SmallGuest, outside: Representor, neighbour: Plugged
) -> None:
    with SmallGuest(neighbour) as other, dpu.representor(neighbour) as beside:
        sent = frame(BROADCAST, guest.device.mac, b"all")
        guest.net.send(sent)
        assert outside.receive() == sent
        assert other.net.receive() == sent
        assert guest.net.drain() == []
        assert beside.drain() == [], "a representor hears its own guest only"


def test_representor_reaches_its_own_guest_only(guest: SmallGuest, outside: Representor, neighbour: Plugged) -> None:
    with SmallGuest(neighbour) as other:
        outside.send(frame(BROADCAST, ELSEWHERE, b"mine"))
        assert b"mine" in guest.net.receive()
        assert other.net.drain() == []


def test_tagged_frame_keeps_its_tag(guest: SmallGuest, outside: Representor) -> None:
    sent = frame(ELSEWHERE, guest.device.mac, bytes(LONGEST - 14), vlan=7)
    guest.net.send(sent)
    assert outside.receive()[:12] == sent[:12]


@pytest.mark.parametrize("mtu", [68, 1500, 9000, 9216])
def test_frames_up_to_the_mtu(dpu: Dpu, mtu: int) -> None:
    device = dpu.hotplug(mtu=mtu)
    with SmallGuest(device, ModernDriver, buffer_size=2048) as guest, dpu.representor(device) as outside:
        assert guest.net.mtu == mtu
        longest = frame(ELSEWHERE, guest.net.mac, bytes(mtu))
        guest.net.send(longest)
        assert outside.receive() == longest
        back = frame(guest.net.mac, ELSEWHERE, bytes(mtu))
        outside.send(back)
        assert guest.net.receive() == back
    dpu.unplug(device)
