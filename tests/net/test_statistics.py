"""Device statistics, as commanded (virtio 1.4 §5.1.6.5.11)."""

import struct
from collections.abc import Mapping

import pytest

from softdpu.datapath.counters import QUEUE_COUNTERS, QUEUE_DROPS
from softdpu.net import statistics
from softdpu.net.device import Function
from softdpu.spec import features as f
from softdpu.spec import net_statistics as s
from softdpu.spec import virtio_net as n
from softdpu.virtio.outcome import NOTHING
from tests.virtio.drivers import Modern, make

CONTROL = 4
LENGTHS = {0: 56, 1: 40, 2: 40, 16: 56, 17: 24, 18: 56, 32: 24}


@pytest.fixture
def function() -> Function:
    """Two pairs, running, with all features."""
    return driven()


def driven(*without: int) -> Function:
    function = make(queues=5)
    driver = Modern(function)
    driver.bring_up(driver.offered() & ~f.mask_of(*without), queues=5)
    return function


def counted(queue: int) -> Mapping[str, int]:
    """Numbers that tell queue and counter."""
    return {name: 1000 * (queue + 1) + place for place, name in enumerate(QUEUE_COUNTERS)}


def send(function: Function, command: int, data: bytes, room: int = 4096) -> bytes:
    answer, effects = function.command(CONTROL, bytes([n.CTRL_STATS, command]) + data, room, counted)
    assert effects == NOTHING
    return answer


def asked(*entries: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<HHHHQ", queue, 7, 7, 7, types) for queue, types in entries)


def capabilities(function: Function) -> int:
    answer = send(function, s.QUERY, b"")
    assert answer[:1] == n.OK
    return int(s.CAPABILITIES.unpack(answer[1:])[0])


def replies(answer: bytes) -> list[tuple[int, int, int, tuple[int, ...]]]:
    """Type, queue, size and fields of each."""
    found, at = [], 1
    while at < len(answer):
        kind, reserved, queue, reserved1, size = struct.unpack_from("<BBHHH", answer, at)
        assert (reserved, reserved1) == (0, 0)
        found.append((kind, queue, size, struct.unpack_from(f"<{(size - 8) // 8}Q", answer, at + 8)))
        at += size
    assert at == len(answer)
    return found


def test_structures_are_as_long_as_in_the_specification() -> None:
    assert {kind.type: kind.size for kind in s.TYPES if kind.type in LENGTHS} == LENGTHS
    assert (s.CAPABILITIES.size, s.ASKED.size, s.HEADER.size) == (8, 16, 8)


def test_every_counter_is_one_of_a_queue() -> None:
    names = {name.removeprefix("-") for counters in statistics.FILLED.values() for name in counters}
    assert names <= set(QUEUE_COUNTERS)
    assert set(statistics.FILLED["rx_drops"]) == set(QUEUE_DROPS)


def test_what_can_be_had_is_told(function: Function) -> None:
    """All but the two of speed: nothing has an allowance here."""
    assert capabilities(function) == f.mask_of(*LENGTHS)


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        ((f.NET_GUEST_CSUM, *(f.NET_GUEST_TSO4, f.NET_GUEST_TSO6, f.NET_GUEST_ECN)), (1, 2)),
        ((f.NET_GUEST_TSO4, f.NET_GUEST_TSO6, f.NET_GUEST_ECN), (2,)),
        ((f.NET_GUEST_TSO4,), ()),
        ((f.NET_CSUM, f.NET_HOST_TSO4, f.NET_HOST_TSO6, f.NET_HOST_ECN, f.NET_HOST_USO), (17, 18)),
        ((f.NET_HOST_TSO4, f.NET_HOST_TSO6, f.NET_HOST_ECN), ()),
    ],
)
def test_types_need_their_features(without: tuple[int, ...], missing: tuple[int, ...]) -> None:
    """What was not negotiated is neither told nor given."""
    function = driven(*without, f.NET_GUEST_USO4, f.NET_GUEST_USO6) if f.NET_GUEST_CSUM in without else driven(*without)
    assert capabilities(function) == f.mask_of(*set(LENGTHS) - set(missing))
    for kind in missing:
        assert send(function, s.GET, asked((kind // 16, 1 << kind))) == n.ERR


def test_a_query_has_no_data(function: Function) -> None:
    assert send(function, s.QUERY, b"\0") == n.ERR


def test_one_command_asks_for_types_of_several_queues(function: Function) -> None:
    """A reply each, with its header: type, queue and size."""
    answer = send(function, s.GET, asked((0, 0b111), (3, 7 << 16), (CONTROL, 1 << 32)))
    assert answer[:1] == n.OK
    assert [reply[:3] for reply in replies(answer)] == [
        (0, 0, 56),
        (1, 0, 40),
        (2, 0, 40),
        (16, 3, 56),
        (17, 3, 24),
        (18, 3, 56),
        (32, 4, 24),
    ]


def test_fields_of_a_receive_queue(function: Function) -> None:
    def of(name: str) -> int:
        return counted(2)[name]

    answer = send(function, s.GET, asked((2, 0b111)))
    basic, csum, gso = (fields for *_, fields in replies(answer))
    lost = sum(of(name) for name in QUEUE_DROPS)
    assert basic == (of("doorbells"), of("frames"), of("octets"), of("interrupts"), lost, of("drop_no_buffer"))
    assert csum == (of("csum_valid"), of("needs_csum"), 0, 0), "not below zero, however the counters stand"
    assert gso == (of("gso_frames"), of("gso_octets"), 0, 0)


def test_fields_of_a_transmit_queue() -> None:
    """Each frame that the driver gave was sent or dropped; what is to be cut is passed on whole."""
    counts = dict.fromkeys(QUEUE_COUNTERS, 0) | {
        "frames": 100,
        "octets": 9000,
        "unsent_frames": 10,
        "unsent_octets": 1000,
        "drop_bad_header": 1,
        "drop_too_short": 2,
        "needs_csum": 30,
        "gso_frames": 20,
        "gso_octets": 5000,
        "unsent_gso_frames": 4,
        "unsent_gso_octets": 800,
    }
    values = {
        field: statistics.value(field, counts) for kind in s.TYPES if kind.type in (16, 17, 18) for field in kind.fields
    }
    assert {name: number for name, number in values.items() if number} == {
        "tx_packets": 90,
        "tx_bytes": 8000,
        "tx_drops": 13,
        "tx_drop_malformed": 3,
        "tx_csum_none": 70,
        "tx_needs_csum": 30,
        "tx_gso_packets": 16,
        "tx_gso_bytes": 4200,
        "tx_gso_packets_noseg": 16,
        "tx_gso_bytes_noseg": 4200,
    }


def test_the_command_that_asks_is_counted(function: Function) -> None:
    """It was received, and will have been carried out."""
    ((_, _, _, fields),) = replies(send(function, s.GET, asked((CONTROL, 1 << 32))))
    assert fields == (counted(CONTROL)["commands"], counted(CONTROL)["commands_ok"] + 1)


def test_counters_wrap(function: Function) -> None:
    def full(queue: int) -> Mapping[str, int]:
        return dict.fromkeys(QUEUE_COUNTERS, (1 << 64) - 1)

    answer, _ = function.command(CONTROL, bytes([n.CTRL_STATS, s.GET]) + asked((CONTROL, 1 << 32)), 99, full)
    assert replies(answer)[0][3] == ((1 << 64) - 1, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        (5, 1 << 32),  # beyond the control queue
        (0xFFFF, 1),
        (0, 1 << 3),  # speed: not offered
        (1, 1 << 19),
        (0, 1 << 4),  # no type at all
        (0, 1 << 63),
        (0, 1 << 16),  # of transmit queues
        (1, 1 << 0),
        (CONTROL, 1 << 0),
        (0, 1 << 32),
        (0, 1 | 1 << 16),  # one right and one wrong
    ],
)
def test_one_mistake_fails_the_whole_command(function: Function, wrong: tuple[int, int]) -> None:
    assert send(function, s.GET, asked((0, 1))) != n.ERR
    for entries in ((wrong,), ((0, 1), wrong), (wrong, (0, 1))):
        assert send(function, s.GET, asked(*entries)) == n.ERR


@pytest.mark.parametrize("cut", [1, 8, 15])
def test_entries_are_whole(function: Function, cut: int) -> None:
    assert send(function, s.GET, asked((0, 1), (1, 1 << 16))[:-cut]) == n.ERR


def test_nothing_asked_nothing_told(function: Function) -> None:
    assert send(function, s.GET, b"") == n.OK
    assert send(function, s.GET, asked((0, 0))) == n.OK


def test_a_small_buffer_is_filled_as_far_as_it_goes(function: Function) -> None:
    whole = send(function, s.GET, asked((0, 0b111)))
    for room in (1, 2, 8, 9, 57, 60, len(whole) - 1, len(whole), len(whole) + 1):
        assert send(function, s.GET, asked((0, 0b111)), room) == whole[:room]


def test_as_many_entries_as_there_are_types_and_queues(function: Function) -> None:
    """More are no driver's need: the answer would be of any size."""
    most = 7 * 5
    assert send(function, s.GET, asked(*[(0, 7)] * most))[:1] == n.OK
    assert send(function, s.GET, asked(*[(0, 7)] * (most + 1))) == n.ERR


def test_without_the_feature_there_is_no_such_class() -> None:
    function = driven(f.NET_DEVICE_STATS)
    assert send(function, s.QUERY, b"") == n.ERR
    assert send(function, s.GET, asked((0, 1))) == n.ERR


def test_queues_that_do_not_run_have_statistics() -> None:
    """They are in the range of queues (§5.1.2)."""
    function = make(queues=5)
    Modern(function).bring_up(queues=2)
    Modern(function).set_up(CONTROL)
    assert replies(send(function, s.GET, asked((2, 1))))[0][:2] == (0, 2)


def test_without_several_pairs_the_control_queue_is_the_third() -> None:
    function = driven(f.NET_MQ, f.NET_RSS)
    command = bytes([n.CTRL_STATS, s.GET]) + asked((2, 1 << 32))
    answer, _ = function.command(2, command, 99, counted)
    assert replies(answer)[0][:2] == (32, 2)
