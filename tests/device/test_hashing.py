"""Receive-side scaling and hash reports (virtio 1.3 §5.1.6.4.3, §5.1.6.5.7), as a driver commands and sees them."""

import struct
from collections.abc import Iterator

import pytest

from softdpu.spec import features as f
from softdpu.spec import virtio_net as n
from softdpu.testkit import ALL_FEATURES, ModernDriver
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest

ELSEWHERE = bytes.fromhex("02000000fffe")
PAIRS = 4
WANTED = ALL_FEATURES | 1 << f.NET_RSS | 1 << f.NET_HASH_REPORT
KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
# Of "Verifying the RSS Hash Calculation" (Microsoft): source, destination, ports, hash with TCP.
FLOWS = [
    ((66, 9, 149, 187), (161, 142, 100, 80), 2794, 1766, 0x51CCC178),
    ((199, 92, 111, 2), (65, 69, 140, 83), 14230, 4739, 0xC626B0EA),
    ((24, 19, 198, 95), (12, 22, 207, 184), 12898, 38024, 0x5C2B394A),
    ((38, 27, 205, 30), (209, 142, 163, 6), 48228, 2217, 0xAFC7327F),
    ((153, 39, 163, 191), (202, 188, 127, 2), 44251, 1303, 0x10E828A2),
]
TCPV4 = 2


@pytest.fixture(scope="module")
def device(dpu: Dpu) -> Iterator[Plugged]:
    """A device with four pairs and a control queue."""
    device = dpu.hotplug(queues=2 * PAIRS + 1, features=1 << f.NET_HASH_REPORT)
    yield device
    dpu.unplug(device)


@pytest.fixture
def guest(device: Plugged) -> Iterator[SmallGuest]:
    """A guest that uses all of them, with both features."""
    with SmallGuest(device, ModernDriver, pairs=PAIRS, buffers=32, wanted=WANTED) as guest:
        yield guest


def tcp(destination: bytes, flow: tuple[tuple[int, ...], tuple[int, ...], int, int, int]) -> bytes:
    """A frame of a flow; nobody looks at its checksums."""
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 7, 0, 64, 6, 0, bytes(flow[0]), bytes(flow[1]))
    return destination + ELSEWHERE + b"\x08\0" + ip + struct.pack("!HH", flow[2], flow[3]) + bytes(16)


def rss(table: list[int], unclassified: int = 0, types: int = n.HASH_TYPES) -> bytes:
    head = n.RSS_HEAD.pack(types, len(table) - 1, unclassified)
    return head + struct.pack(f"<{len(table)}H", *table) + n.RSS_TAIL.pack(PAIRS, len(KEY)) + KEY


def test_device_says_what_it_can_hash(guest: SmallGuest, dpu: Dpu) -> None:
    fields = ("rss_max_key_size", "rss_max_indirection_table_length", "supported_hash_types")
    assert [guest.net.config(name) for name in fields] == [40, 128, 0x1FF]
    (shown,) = dpu.virtnet("query", "-p", guest.device.pf, "-b").json["devices"]
    assert (shown["rss_max_key_size"], shown["supported_hash_types"]) == ("40", "0x1ff")


@pytest.mark.parametrize("size", [1, 4, 128])
def test_frames_go_to_the_queue_of_the_table_with_their_hash(
    guest: SmallGuest, outside: Representor, size: int
) -> None:
    table = [(number * 7 + 3) % PAIRS for number in range(size)]
    assert guest.net.control(n.CTRL_MQ, n.CTRL_MQ_RSS_CONFIG, rss(table)) == n.OK
    for flow in FLOWS:
        sent = tcp(guest.device.mac, flow)
        outside.send(sent)
        header, received = guest.net.receive_with_header(pair=table[flow[4] % size])
        assert (received, n.HASHED.unpack(header[10:])) == (sent, (1, flow[4], TCPV4, 0))


def test_frames_that_are_not_hashed(guest: SmallGuest, outside: Representor) -> None:
    assert guest.net.control(n.CTRL_MQ, n.CTRL_MQ_RSS_CONFIG, rss([0, 1, 2, 3], 3, types=1 << 2)) == n.OK
    outside.send(tcp(guest.device.mac, FLOWS[0]))
    header, _ = guest.net.receive_with_header(pair=3)
    assert n.HASHED.unpack(header[10:]) == (1, 0, 0, 0)


def test_frames_of_another_guest_are_steered_too(guest: SmallGuest, dpu: Dpu) -> None:
    neighbour = dpu.hotplug()
    try:
        assert guest.net.control(n.CTRL_MQ, n.CTRL_MQ_RSS_CONFIG, rss([0, 1, 2, 3])) == n.OK
        with SmallGuest(neighbour) as sender:
            guest.net.send(tcp(b"\xff" * 6, FLOWS[0])[:6] + guest.device.mac + bytes(48))
            sender.net.drain()
            for flow in FLOWS:
                sent = tcp(guest.device.mac, flow)
                sender.net.send(sent)
                header, received = guest.net.receive_with_header(pair=flow[4] % 4)
                assert (received, n.HASHED.unpack(header[10:])) == (sent, (1, flow[4], TCPV4, 0))
    finally:
        dpu.unplug(neighbour)


def test_hashes_without_scaling(guest: SmallGuest, outside: Representor) -> None:
    """§5.1.6.5.6.4: they are reported while steering is automatic."""
    assert guest.net.use_pairs(1) == n.OK
    config = n.HASH_HEAD.pack(n.HASH_TYPES, len(KEY)) + KEY
    assert guest.net.control(n.CTRL_MQ, n.CTRL_MQ_HASH_CONFIG, config) == n.OK
    outside.send(tcp(guest.device.mac, FLOWS[2]))
    header, _ = guest.net.receive_with_header()
    assert n.HASHED.unpack(header[10:]) == (1, FLOWS[2][4], TCPV4, 0)


def test_operator_sees_how_long_interrupts_are_held_back(device: Plugged, dpu: Dpu) -> None:
    wanted = WANTED | 1 << f.NET_NOTF_COAL | 1 << f.NET_VQ_NOTF_COAL
    with SmallGuest(device, ModernDriver, pairs=PAIRS, wanted=wanted) as guest:
        assert guest.net.control(n.CTRL_NOTF_COAL, n.CTRL_NOTF_COAL_RX_SET, n.COAL.pack(8, 500)) == n.OK
        one = n.COAL_QUEUE.pack(3, 0) + n.COAL.pack(4, 70)
        assert guest.net.control(n.CTRL_NOTF_COAL, n.CTRL_NOTF_COAL_VQ_SET, one) == n.OK
        asked = bytes([n.CTRL_NOTF_COAL, n.CTRL_NOTF_COAL_VQ_GET]) + n.COAL_QUEUE.pack(3, 0)
        assert guest.net.control_raw(asked, room=9) == n.OK + n.COAL.pack(4, 70)
        (shown,) = dpu.virtnet("query", "-p", device.pf).json["devices"]
        held = {q["index"]: (q["rq_cq_max_count"], q["rq_cq_period"]) for q in shown["enabled-queues-info"]}
        assert [held[str(queue)] for queue in range(4)] == [("8", "500"), ("0", "0"), ("8", "500"), ("4", "70")]


def test_held_back_interrupts_come(device: Plugged, dpu: Dpu) -> None:
    """Fewer frames than asked for: the driver, which sleeps meanwhile, gets them when their time has come."""
    wanted = WANTED | 1 << f.NET_NOTF_COAL
    with (
        SmallGuest(device, ModernDriver, wanted=wanted) as guest,
        dpu.representor(device) as outside,
    ):
        assert guest.net.control(n.CTRL_NOTF_COAL, n.CTRL_NOTF_COAL_RX_SET, n.COAL.pack(1000, 2000)) == n.OK
        for _ in range(20):
            sent = tcp(guest.device.mac, FLOWS[0])
            outside.send(sent)
            assert guest.net.receive() == sent


def test_scaling_outlives_the_controller(device: Plugged, dpu: Dpu) -> None:
    with (
        SmallGuest(device, ModernDriver, pairs=PAIRS, buffers=32, wanted=WANTED) as guest,
        dpu.representor(device) as outside,
    ):
        assert guest.net.control(n.CTRL_MQ, n.CTRL_MQ_RSS_CONFIG, rss([3, 2, 1, 0])) == n.OK
        dpu.restart_controller()
        for flow in FLOWS:
            outside.send(tcp(guest.device.mac, flow))
            assert guest.net.receive(pair=3 - flow[4] % 4)
