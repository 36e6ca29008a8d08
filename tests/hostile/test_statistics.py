"""Device statistics are what happened, and asking for them in any way costs nobody (virtio 1.4 §5.1.6.5.11)."""

import random
import struct

import pytest

from softdpu.datapath import ledger
from softdpu.spec import net_statistics as s
from softdpu.spec import virtio_net as n
from softdpu.testkit import ALL_FEATURES, BROADCAST, STATISTICS, StatisticsRefused, frame, statistics
from tests.dpu_under_test import Dpu, Plugged
from tests.hostile.conftest import OUTSIDE
from tests.hostile.test_ledger import settle, some_frame, some_offload
from tests.small_guest import SmallGuest

WANTED = ALL_FEATURES | STATISTICS | n.HOST_OFFLOADS | n.GUEST_OFFLOADS
RX, TX, CONTROL = 0, 1, 2
SUM = struct.Struct("!H")


@pytest.fixture
def ends(own_dpu: Dpu) -> list[Plugged]:
    return [own_dpu.hotplug() for _ in range(2)]


def totals(own_dpu: Dpu, device: Plugged) -> dict[str, int]:
    return own_dpu.counters(device)


def test_statistics_are_those_of_the_operator(own_dpu: Dpu, ends: list[Plugged]) -> None:
    with SmallGuest(ends[0], wanted=WANTED) as one, SmallGuest(ends[1], wanted=WANTED, buffers=4) as other:
        one.net.send(frame(BROADCAST, one.net.mac, b"to all"))
        other.net.send(frame(one.net.mac, other.net.mac, b"back"))
        one.net.receive()
        settle(other)
        for size in (100, 200, 300, 400, 500):
            one.net.send(frame(other.net.mac, one.net.mac, bytes(size)))
        one.net.send(b"\2" * 13)
        one.net.send(frame(other.net.mac, one.net.mac), offload=n.OFFLOAD.pack(n.NEEDS_CSUM, 0, 0, 0, 60000, 16))
        settle(one)
        sent, came = statistics.every(one.net), statistics.every(other.net)
        counted = [own_dpu.counters(device) for device in ends]
        assert sent[TX]["tx_packets"] == 6
        assert (sent[TX]["tx_drops"], sent[TX]["tx_drop_malformed"]) == (2, 2)
        assert sent[TX]["tx_bytes"] == counted[0]["queue1_octets"]
        assert sent[RX]["rx_packets"] == 1
        assert (came[RX]["rx_packets"], came[RX]["rx_drops"], came[RX]["rx_drop_overruns"]) == (4, 2, 2)
        assert counted[1]["drop_no_buffer"] == counted[1]["queue0_drop_no_buffer"] == 2
        assert came[TX]["tx_notifications"] == counted[1]["queue1_doorbells"]
        assert sent[CONTROL]["command_num"] == sent[CONTROL]["ok_num"] == 2, "this one, and the one before"
        assert ledger.check(own_dpu.all_counters()) is None


def test_a_frame_to_be_cut_counts_as_one_that_nobody_cut(own_dpu: Dpu, ends: list[Plugged]) -> None:
    """On both queues, and not on one that gets its segments."""
    with SmallGuest(ends[0], wanted=WANTED) as one, SmallGuest(ends[1], wanted=ALL_FEATURES | STATISTICS) as other:
        other.net.send(frame(BROADCAST, other.net.mac, b"so that the switch learns"))
        one.net.receive()
        long = segment(other.net.mac, one.net.mac, 3000)
        one.net.send(long, offload=n.OFFLOAD.pack(n.NEEDS_CSUM, n.GSO_TCPV4, 54, 1000, 34, 16))
        assert [len(other.net.receive()) for _ in range(3)] == [1054] * 3
        settle(one)
        sent, came = statistics.every(one.net)[TX], statistics.every(other.net)[RX]
        whole = (sent["tx_gso_packets"], sent["tx_gso_packets_noseg"], sent["tx_gso_bytes"], sent["tx_needs_csum"])
        assert whole == (1, 1, len(long), 1)
        assert (sent["tx_gso_segments"], came["rx_packets"], came["rx_bytes"]) == (0, 3, 3 * 1054)
        assert not any(name.startswith(("rx_gso", "rx_csum")) for name in came), "it has not negotiated what they need"


def segment(to: bytes, source: bytes, size: int) -> bytes:
    """TCP over IPv4 whose checksum and segments are left undone."""
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + size, 0, 0, 64, 6, 0, b"\xc0\0\2\1", b"\xc0\0\2\2")
    tcp = struct.pack("!HHIIBBHHH", 1, 2, 0, 0, 0x50, 0x10, 1000, 0, 0)
    return to + source + b"\x08\0" + ip + tcp + bytes(size)


@pytest.mark.parametrize("seed", range(2))
def test_queues_agree_with_their_port_whatever_is_sent(own_dpu: Dpu, ends: list[Plugged], seed: int) -> None:
    """Each frame that a driver gave was sent or dropped, and what lacked a buffer is the same in both books."""
    chance = random.Random(seed)
    with SmallGuest(ends[0], wanted=WANTED) as one, SmallGuest(ends[1], wanted=WANTED, buffers=4) as other:
        guests = (one, other)
        for _ in range(300):
            guest = chance.choice(guests)
            guest.net.send(*some_frame(chance, guest, chance.choice(guests)), offload=some_offload(chance))
            if chance.random() < 0.3:
                chance.choice(guests).net.drain(0)
        for guest, device in zip(guests, ends, strict=True):
            settle(guest)
            told, counted = statistics.every(guest.net), own_dpu.counters(device)
            assert told[TX]["tx_packets"] + told[TX]["tx_drops"] == counted["transmitted_frames"]
            assert told[TX]["tx_csum_none"] + told[TX]["tx_needs_csum"] == counted["queue1_frames"]
            assert told[RX]["rx_drop_overruns"] == counted["drop_no_buffer"]
            assert told[RX]["rx_drops"] >= told[RX]["rx_drop_overruns"]


def test_a_frame_that_reaches_nobody_was_dropped(own_dpu: Dpu) -> None:
    device = own_dpu.hotplug()
    own_dpu.ip("link", "set", device.representor, "down")
    with SmallGuest(device, wanted=WANTED) as guest:
        guest.net.send(frame(OUTSIDE, guest.net.mac, b"nobody is there"))
        settle(guest)
        told = statistics.every(guest.net)[TX]
        assert (told["tx_packets"], told["tx_bytes"], told["tx_drops"], told["tx_drop_malformed"]) == (0, 0, 1, 0)


def test_statistics_outlive_a_controller(own_dpu: Dpu) -> None:
    with SmallGuest(own_dpu.hotplug(), wanted=WANTED) as guest:
        guest.net.send(frame(OUTSIDE, guest.net.mac, b"before"))
        settle(guest)
        before = statistics.every(guest.net)
        own_dpu.restart_controller()
        after = statistics.every(guest.net)
        assert after[TX]["tx_packets"] == before[TX]["tx_packets"] == 1
        assert after[CONTROL]["command_num"] == before[CONTROL]["command_num"] + 2


@pytest.fixture
def asking(device: Plugged) -> SmallGuest:
    return SmallGuest(device, wanted=WANTED)


def test_noise_in_questions(asking: SmallGuest) -> None:
    """Any bytes, of any length, into a room of any size: answered, and no more than there is room for."""
    chance = random.Random(7)
    with asking as guest:
        for _ in range(300):
            entries = [
                (chance.choice((0, 1, 2, 3, 65535)), 1 << chance.randrange(64)) for _ in range(chance.randrange(4))
            ]
            data = statistics.asked(entries)[: chance.randrange(70)]
            answer = guest.net.control_raw(bytes([n.CTRL_STATS, s.GET]) + data, room=chance.randrange(1, 100))
            assert answer[:1] in (n.OK, n.ERR)
            if answer[:1] == n.ERR:
                assert set(answer[1:]) <= {0xFF}, "nothing is written after a refusal"
        assert not guest.net.needs_reset


def test_as_many_questions_as_a_command_holds(asking: SmallGuest) -> None:
    with asking as guest:
        with pytest.raises(StatisticsRefused):
            statistics._ask(guest.net, s.GET, statistics.asked([(0, 1)] * 4000), 1 << 18)
        assert statistics.of(guest.net, {0: 1})[0]["rx_drops"] == 0


def test_a_room_too_small_is_filled(asking: SmallGuest) -> None:
    with asking as guest:
        question = bytes([n.CTRL_STATS, s.GET]) + statistics.asked([(0, 1), (1, 1 << 16)])
        answer = guest.net.control_raw(question, room=1 + 56 + 20)
        assert answer[:1] == n.OK
        assert list(statistics.parsed(answer[1:57])) == [0]
        assert s.HEADER.unpack_from(answer, 57) == (16, 1, 56)
