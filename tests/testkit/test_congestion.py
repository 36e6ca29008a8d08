"""A long TCP frame that says "congestion window reduced", to drivers of every kind (virtio 1.3 §5.1.6.2.1: GSO_ECN).

The flag concerns the first segment alone: if each had it, the other end would take it for as many reductions.
"""

import struct
from collections.abc import Iterator

import pytest

from softdpu.spec import features as f
from softdpu.spec import virtio_net as n
from softdpu.testkit import ALL_FEATURES, BROADCAST, frame
from tests.dpu_under_test import Dpu
from tests.hostile.test_ledger import settle
from tests.small_guest import SmallGuest

ACK, ECE, CWR = 0x10, 0x40, 0x80
FLAGS = 47  # of the TCP header, after Ethernet and IPv4
TCP = n.GSO_TCPV4 | n.GSO_ECN
SENDER = ALL_FEATURES | n.HOST_OFFLOADS
TAKES_ALL = SENDER | n.GUEST_OFFLOADS
CUT = n.OFFLOAD.pack(n.NEEDS_CSUM, TCP, 54, 1000, 34, 16)


@pytest.fixture
def sender(own_dpu: Dpu) -> Iterator[SmallGuest]:
    with SmallGuest(own_dpu.hotplug(), wanted=SENDER) as guest:
        yield guest


def reduced(to: bytes, source: bytes, size: int = 3000) -> bytes:
    """TCP over IPv4 with CWR and ECE whose checksum and segments are left undone."""
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + size, 0, 0, 64, 6, 0, b"\xc0\0\2\1", b"\xc0\0\2\2")
    tcp = struct.pack("!HHIIBBHHH", 1, 2, 0, 0, 0x50, ACK | ECE | CWR, 1000, 0, 0)
    return to + source + b"\x08\0" + ip + tcp + bytes(size)


def test_who_takes_it_gets_the_frame_whole_and_is_told(own_dpu: Dpu, sender: SmallGuest) -> None:
    with SmallGuest(own_dpu.hotplug(), wanted=TAKES_ALL) as other:
        meet(sender, other)
        long = reduced(other.net.mac, sender.net.mac)
        sender.net.send(long, offload=CUT)
        header, came = other.net.receive_with_header()
        assert came == long
        assert header[:2] == bytes((n.NEEDS_CSUM, TCP))
        settle(other)
        assert own_dpu.counters(other.device)["queue0_gso_frames"] == 1


@pytest.mark.parametrize(
    "without",
    [f.mask_of(f.NET_GUEST_ECN), f.mask_of(f.NET_GUEST_TSO4), n.GUEST_OFFLOADS],
    ids=["GUEST_ECN", "GUEST_TSO4", "all"],
)
def test_who_does_not_take_it_gets_segments_of_which_the_first_says_so(
    own_dpu: Dpu, sender: SmallGuest, without: int
) -> None:
    with SmallGuest(own_dpu.hotplug(), wanted=TAKES_ALL & ~without) as other:
        meet(sender, other)
        sender.net.send(reduced(other.net.mac, sender.net.mac), offload=CUT)
        segments = [other.net.receive() for _ in range(3)]
        assert [segment[FLAGS] for segment in segments] == [ACK | ECE | CWR, ACK | ECE, ACK | ECE]
        assert [len(segment) for segment in segments] == [1054] * 3


def test_who_may_not_send_it_has_its_frame_dropped(own_dpu: Dpu) -> None:
    """Without HOST_ECN (§5.1.6.2.1)."""
    with (
        SmallGuest(own_dpu.hotplug(), wanted=SENDER & ~f.mask_of(f.NET_HOST_ECN)) as one,
        SmallGuest(own_dpu.hotplug(), wanted=TAKES_ALL) as other,
    ):
        meet(one, other)
        one.net.send(reduced(other.net.mac, one.net.mac), offload=CUT)
        settle(one)
        assert own_dpu.counters(one.device)["drop_bad_header"] == 1
        assert other.net.drain() == []


def meet(one: SmallGuest, other: SmallGuest) -> None:
    """The switch learns where the other one is."""
    other.net.send(frame(BROADCAST, other.net.mac))
    one.net.receive()
