"""Frames that are long, tagged or left undone, over an uplink of either kind."""

import os

import pytest

from softdpu.spec import virtio_net as n
from softdpu.testkit import frame
from tests.device.test_offloads import CUT, DATA_AT, EVERY, NO_CSUM, PARTIAL, SIZE, assert_final, tcp
from tests.device.uplink.conftest import OUTSIDE, closes
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest
from tests.waiting import until

SOL_PACKET, PACKET_VNET_HDR = 263, 15
TAG = bytes.fromhex("81002007")
LONG = 60000  # bytes of TCP payload


@pytest.fixture
def taking_whole(device: Plugged) -> SmallGuest:
    """A guest that takes and sends what is still to be cut."""
    return SmallGuest(device, memory=16 << 20, wanted=EVERY, buffers=128)


def test_long_frame_goes_out_whole_or_cut(mode: str, wire: Representor, taking_whole: SmallGuest) -> None:
    """A veth pair leaves undone what it is given undone; by XDP nothing is."""
    with taking_whole as guest:
        sent = tcp(OUTSIDE, guest.net.mac, LONG)
        guest.net.send(sent, offload=CUT)
        if mode == "af_packet":
            assert wire.receive() == sent
            return
        parts = [wire.receive() for _ in range(-(-LONG // SIZE))]
    for part in parts:
        assert_final(part)
    assert b"".join(part[DATA_AT:] for part in parts) == sent[DATA_AT:]


def test_long_frame_comes_in_whole_or_cut(mode: str, wire: Representor, taking_whole: SmallGuest) -> None:
    """The kernel cuts what is for an interface with XDP, and leaves the checksums to the one who knows."""
    with taking_whole as guest:
        sent = tcp(guest.net.mac, OUTSIDE, LONG)
        wire.socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        wire.send(n.OFFLOAD.pack(n.NEEDS_CSUM, n.GSO_TCPV4, DATA_AT, SIZE, 34, 16) + sent)
        if mode == "af_packet":
            header, received = guest.net.receive_with_header()
            assert (header[1], received) == (n.GSO_TCPV4, sent)
            return
        parts = [guest.net.receive_with_header() for _ in range(-(-LONG // SIZE))]
    assert b"".join(part[DATA_AT:] for _, part in parts) == sent[DATA_AT:]
    assert {header[:2] for header, _ in parts} == {bytes([n.NEEDS_CSUM, n.GSO_NONE])}


@pytest.mark.parametrize("kind", ["taken", "not taken"])
def test_checksum_that_the_sender_left_undone_is_never_taken_for_a_final_one(
    wire: Representor, device: Plugged, kind: str
) -> None:
    with SmallGuest(device, memory=16 << 20, wanted=NO_CSUM if kind == "not taken" else EVERY) as guest:
        sent = tcp(guest.net.mac, OUTSIDE, 999)
        wire.socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        wire.send(PARTIAL + sent)
        header, received = guest.net.receive_with_header()
        if kind == "taken":
            assert (header[:10], received) == (PARTIAL, sent)
        else:
            assert header[0] == 0
            assert_final(received)


def test_tag_that_the_kernel_has_beside_the_frame_is_put_back(dpu: Dpu, wire: Representor, guest: SmallGuest) -> None:
    """A bridge takes tags out of frames that pass it, and gives them to the next interface apart from the frame."""
    for words in (
        "link add cable type bridge mcast_snooping 0",
        "link add near1 type veth peer name far1",
        "link set far0 master cable",
        "link set far1 master cable",
        *(f"link set {name} up" for name in ("cable", "near1", "far1")),
    ):
        dpu.ip(*words.split())
    with Representor(dpu.netns, "near1") as behind:
        until(lambda: "state forwarding" in dpu.ip("-d", "link", "show", "far1"))
        plain = frame(guest.device.mac, OUTSIDE, b"seven")
        tagged = plain[:12] + TAG + plain[12:]
        behind.send(tagged)
        assert guest.net.receive() == tagged
        behind.send(plain)
        assert guest.net.receive() == plain
    dpu.ip("link", "del", "near1")
    dpu.ip("link", "del", "cable")


def test_jumbo_frames_pass_both_ways(dpu: Dpu, device: Plugged, wire: Representor) -> None:
    for name in ("up0", "far0"):
        dpu.ip("link", "set", name, "mtu", "9000")
    until(lambda: dpu.uplinks()["p0"]["mtu"] == 9000)
    dpu.virtnet("modify", "-u", device.vuid, "device", "-t", 9000)
    with SmallGuest(device, memory=16 << 20, wanted=EVERY, buffers=128) as guest:
        sent = frame(OUTSIDE, guest.net.mac, os.urandom(8900))
        guest.net.send(sent)
        assert wire.receive() == sent
        answer = frame(guest.net.mac, OUTSIDE, os.urandom(8900))
        wire.send(answer)
        assert guest.net.receive() == answer
    until(lambda: closes(dpu))
