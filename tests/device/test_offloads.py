"""Frames whose checksum or segmentation the driver left undone (virtio 1.3 §5.1.6.2, §5.1.6.4)."""

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from softdpu.spec import features as f
from softdpu.spec import virtio_net as n
from softdpu.testkit import ALL_FEATURES, Driver, LegacyDriver, ModernDriver
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest

ELSEWHERE = bytes.fromhex("02000000fffe")
TCP_AT, DATA_AT = 34, 54
DATAGRAM_AT = 42
SIZE = 1448
KINDS = [LegacyDriver, ModernDriver]
EVERY = ALL_FEATURES | n.HOST_OFFLOADS | n.GUEST_OFFLOADS | 1 << f.NET_CTRL_GUEST_OFFLOADS
NO_CSUM = EVERY & ~n.GUEST_OFFLOADS
NO_TSO = NO_CSUM | 1 << f.NET_GUEST_CSUM
PARTIAL = n.OFFLOAD.pack(n.NEEDS_CSUM, n.GSO_NONE, 0, 0, TCP_AT, 16)
CUT = n.OFFLOAD.pack(n.NEEDS_CSUM, n.GSO_TCPV4, 0xFFFF, SIZE, TCP_AT, 16)
CUT_UDP = n.OFFLOAD.pack(n.NEEDS_CSUM, n.GSO_UDP_L4, 0xFFFF, SIZE, TCP_AT, 6)


@pytest.fixture(scope="module")
def devices(dpu: Dpu) -> Iterator[tuple[Plugged, Plugged]]:
    """Two devices on the fabric."""
    devices = dpu.hotplug(), dpu.hotplug()
    yield devices
    for device in devices:
        dpu.unplug(device)


def summed(data: bytes) -> int:
    """The sum of 16-bit words with the carry brought round (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo(ip: bytes) -> bytes:
    """The pseudo-header of a TCP segment, or UDP datagram, in an IPv4 packet."""
    return ip[12:20] + struct.pack("!BBH", 0, ip[9], len(ip) - 20)


def tcp(destination: bytes, source: bytes, size: int) -> bytes:
    """A frame of TCP over IPv4 as a driver leaves it: in place of the checksum, the sum of the pseudo-header."""
    segment = struct.pack("!HHIIBBHHH", 1000, 2000, 1, 1, 0x50, 0x19, 100, 0, 0) + os.urandom(size)
    return ipv4(destination, source, socket.IPPROTO_TCP, segment, 16)


def udp(destination: bytes, source: bytes, size: int) -> bytes:
    """The same of UDP."""
    datagram = struct.pack("!HHHH", 1000, 2000, 8 + size, 0) + os.urandom(size)
    return ipv4(destination, source, socket.IPPROTO_UDP, datagram, 6)


def ipv4(destination: bytes, source: bytes, protocol: int, segment: bytes, checksum: int) -> bytes:
    """A frame with the header's checksum as it should be, and the segment's, at ``checksum``, left undone."""
    addresses = b"\xc0\0\2\1", b"\xc0\0\2\2"
    ip = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 7, 0, 64, protocol, 0, *addresses))
    ip[10:12] = (0xFFFF - summed(bytes(ip))).to_bytes(2)
    sum_of_pseudo = summed(pseudo(bytes(ip) + segment)).to_bytes(2)
    return destination + source + b"\x08\0" + bytes(ip) + segment[:checksum] + sum_of_pseudo + segment[checksum + 2 :]


def assert_final(frame: bytes) -> None:
    """Nothing about the frame is left undone."""
    ip = frame[14:]
    assert struct.unpack("!H", ip[2:4])[0] == len(ip)
    assert summed(ip[:20]) == 0xFFFF
    assert summed(pseudo(ip) + ip[20:]) == 0xFFFF


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def sender(request: pytest.FixtureRequest, devices: tuple[Plugged, Plugged]) -> Iterator[SmallGuest]:
    """A guest that may leave everything undone."""
    with SmallGuest(devices[0], request.param, memory=16 << 20, wanted=EVERY) as guest:
        yield guest


def receiver(device: Plugged, kind: type[Driver], wanted: int) -> SmallGuest:
    """A guest that takes what is ``wanted``, with room for a long frame."""
    return SmallGuest(device, kind, memory=16 << 20, wanted=wanted, buffers=128)


def exchange(sender: SmallGuest, to: SmallGuest, offload: bytes, size: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Sends one frame between guests that know each other; what was sent and what came."""
    to.net.send(tcp(ELSEWHERE, to.net.mac, 100), offload=PARTIAL)  # the switch learns where it is
    sender.net.drain()
    sent = tcp(to.net.mac, sender.net.mac, size)
    sender.net.send(sent, offload=offload)
    count = -(-size // SIZE) if offload == CUT and not to.net.has(f.NET_GUEST_TSO4) else 1
    return sent, [to.net.receive_with_header() for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_checksum_stays_undone_for_who_can_take_it(
    devices: tuple[Plugged, Plugged], sender: SmallGuest, kind: type[Driver]
) -> None:
    with receiver(devices[1], kind, NO_TSO) as to:
        sent, [(header, received)] = exchange(sender, to, PARTIAL, 777)
        assert (header[:10], received) == (PARTIAL, sent)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_checksum_is_finished_for_who_cannot(
    devices: tuple[Plugged, Plugged], sender: SmallGuest, kind: type[Driver]
) -> None:
    with receiver(devices[1], kind, NO_CSUM) as to:
        sent, [(header, received)] = exchange(sender, to, PARTIAL, 777)
        assert header[:10] == bytes(10)
        assert received[:50] + received[52:] == sent[:50] + sent[52:]
        assert_final(received)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_long_frame_stays_whole_for_who_can_take_it(
    devices: tuple[Plugged, Plugged], sender: SmallGuest, kind: type[Driver]
) -> None:
    with receiver(devices[1], kind, EVERY) as to:
        sent, [(header, received)] = exchange(sender, to, CUT, 60_000)
        assert received == sent
        # hdr_len is a true one, whatever the sender wrote there
        assert n.OFFLOAD.unpack(header[:10]) == (n.NEEDS_CSUM, n.GSO_TCPV4, DATA_AT, SIZE, TCP_AT, 16)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("wanted", [NO_TSO, NO_CSUM], ids=["csum", "nothing"])
def test_long_frame_is_cut_for_who_cannot(
    devices: tuple[Plugged, Plugged], sender: SmallGuest, kind: type[Driver], wanted: int
) -> None:
    with receiver(devices[1], kind, wanted) as to:
        sent, received = exchange(sender, to, CUT, 60_001)
        assert b"".join(frame[DATA_AT:] for _, frame in received) == sent[DATA_AT:]
        for header, frame in received:
            assert header[:10] == bytes(10)
            assert len(frame) <= DATA_AT + SIZE
            assert_final(frame)


@pytest.fixture
def modern_sender(devices: tuple[Plugged, Plugged]) -> Iterator[SmallGuest]:
    """A guest that may leave everything undone; a legacy one has no bits for UDP."""
    with SmallGuest(devices[0], ModernDriver, memory=16 << 20, wanted=EVERY) as guest:
        yield guest


def exchange_udp(sender: SmallGuest, to: SmallGuest, count: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Sends one long datagram that is to be cut between guests that know each other; what was sent and what came."""
    to.net.send(tcp(ELSEWHERE, to.net.mac, 100), offload=PARTIAL)
    sender.net.drain()
    sent = udp(to.net.mac, sender.net.mac, 60_000)
    sender.net.send(sent, offload=CUT_UDP)
    return sent, [to.net.receive_with_header() for _ in range(count)]


def test_long_datagram_stays_whole_for_who_can_take_it(
    devices: tuple[Plugged, Plugged], modern_sender: SmallGuest
) -> None:
    with receiver(devices[1], ModernDriver, EVERY) as to:
        sent, [(header, received)] = exchange_udp(modern_sender, to, 1)
        assert received == sent
        assert n.OFFLOAD.unpack(header[:10]) == (n.NEEDS_CSUM, n.GSO_UDP_L4, DATAGRAM_AT, SIZE, TCP_AT, 6)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("taken_away", [1 << f.NET_GUEST_USO4, n.GUEST_OFFLOADS], ids=["uso4", "all"])
def test_long_datagram_is_cut_for_who_cannot(
    devices: tuple[Plugged, Plugged], modern_sender: SmallGuest, kind: type[Driver], taken_away: int
) -> None:
    """A legacy driver cannot take it whatever it wants: its features end at bit 31."""
    with receiver(devices[1], kind, EVERY & ~taken_away) as to:
        sent, received = exchange_udp(modern_sender, to, -(-60_000 // SIZE))
        assert b"".join(frame[DATAGRAM_AT:] for _, frame in received) == sent[DATAGRAM_AT:]
        for header, frame in received:
            assert header[:10] == bytes(10)
            assert struct.unpack("!H", frame[38:40])[0] == len(frame) - TCP_AT
            assert_final(frame)


def test_representor_gets_a_long_datagram(modern_sender: SmallGuest, dpu: Dpu) -> None:
    """Whole where its kernel can cut it, else cut: in any case every byte of it, once."""
    with dpu.representor(modern_sender.device) as outside:
        sent = udp(ELSEWHERE, modern_sender.net.mac, 60_000)
        modern_sender.net.send(sent, offload=CUT_UDP)
        assert b"".join(frame[DATAGRAM_AT:] for frame in outside.drain(0.2)) == sent[DATAGRAM_AT:]


def test_command_takes_an_offload_away(devices: tuple[Plugged, Plugged], sender: SmallGuest) -> None:
    with receiver(devices[1], ModernDriver, EVERY) as to:
        assert to.net.control(n.CTRL_GUEST_OFFLOADS, n.CTRL_GUEST_OFFLOADS_SET, bytes(8)) == n.OK
        to.net.send(tcp(ELSEWHERE, to.net.mac, 100), offload=PARTIAL)
        sender.net.drain()
        sender.net.send(tcp(to.net.mac, sender.net.mac, 500), offload=PARTIAL)
        header, received = to.net.receive_with_header()
        assert header[:10] == bytes(10)
        assert_final(received)


def test_representor_gets_a_frame_that_its_kernel_can_finish(sender: SmallGuest, dpu: Dpu) -> None:
    with dpu.representor(sender.device) as outside:
        sent = tcp(ELSEWHERE, sender.net.mac, 60_000)
        sender.net.send(sent, offload=CUT)
        assert outside.receive() == sent  # a packet socket sees it before anyone has finished it


def test_segments_that_may_be_longer_than_their_frame(sender: SmallGuest, dpu: Dpu) -> None:
    """`gso_size` is the most that a segment has (§5.1.6.2): the frame is one, whose checksum is missing."""
    with dpu.representor(sender.device) as outside:
        sent = tcp(ELSEWHERE, sender.net.mac, 600)
        sender.net.send(sent, offload=n.OFFLOAD.pack(1, 1, 54, SIZE, 34, 16))
        assert outside.receive() == sent


CONTRADICTIONS = {
    "sum of the Ethernet header": (1, 0, 0, 0, 10, 2),
    "sum outside": (1, 0, 0, 0, 5000, 16),
    "checksum outside": (1, 0, 0, 0, 34, 5000),
    "segments without a checksum": (0, 1, 54, SIZE, 34, 16),
    "segments of nothing": (1, 1, 54, 0, 34, 16),
    "segments longer than the MTU, and the frame too": (1, 1, 54, 65535, 34, 16),
    "IPv6 that is IPv4": (1, 4, 54, SIZE, 34, 16),
    "UDP": (1, 3, 54, SIZE, 34, 16),
    "TCP elsewhere": (1, 1, 54, SIZE, 38, 16),
    "segments longer than the MTU": (1, 1, 54, 1461 + 4, 34, 16),
}


@pytest.mark.parametrize("fields", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_header_that_contradicts_its_frame(
    dpu: Dpu, sender: SmallGuest, outside_of_sender: Representor, fields: tuple[int, ...]
) -> None:
    cause = "drop_too_long" if fields[3] > SIZE else "drop_bad_header"
    before = dpu.counters(sender.device)[cause]
    sender.net.send(tcp(ELSEWHERE, sender.net.mac, 4000), offload=n.OFFLOAD.pack(*fields))
    assert outside_of_sender.drain() == []
    assert dpu.counters(sender.device)[cause] == before + 1


@pytest.fixture
def outside_of_sender(dpu: Dpu, sender: SmallGuest) -> Iterator[Representor]:
    """The DPU's end of the sender."""
    with dpu.representor(sender.device) as outside:
        yield outside


@pytest.mark.parametrize("offload", [PARTIAL, CUT], ids=["checksum", "segments"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_offload_that_was_not_negotiated(
    dpu: Dpu, devices: tuple[Plugged, Plugged], kind: type[Driver], offload: bytes
) -> None:
    with SmallGuest(devices[0], kind, memory=16 << 20, wanted=EVERY & ~n.HOST_OFFLOADS) as guest:
        before = dpu.counters(guest.device)["drop_bad_header"]
        guest.net.send(tcp(ELSEWHERE, guest.net.mac, 4000), offload=offload)
        guest.net.await_used(1, 5)
        assert dpu.counters(guest.device)["drop_bad_header"] == before + 1
