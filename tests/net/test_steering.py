"""Which receive queue a frame goes to, as commanded (virtio 1.3 §5.1.6.5.6-7)."""

import struct

import pytest

from softdpu.net.device import Function
from softdpu.spec import features as f
from softdpu.spec import virtio_net as n
from softdpu.virtio.effects import SetHash, SetPairs, StartQueue
from softdpu.virtio.outcome import NOTHING, Effects
from tests.virtio.drivers import Modern, make, of_type

KEY = bytes(range(40))
AUTOMATIC = SetHash(False, 0, b"", (), 0)
MQ, RSS, REPORT = 1 << f.NET_MQ, 1 << f.NET_RSS, 1 << f.NET_HASH_REPORT


@pytest.fixture
def function() -> Function:
    """Four pairs, running, with all features."""
    function = make(queues=9, features=REPORT)
    Modern(function).bring_up(queues=9)
    return function


def send(function: Function, command: int, data: bytes) -> tuple[bytes, Effects]:
    return function.command(len(function.queues) - 1, bytes([n.CTRL_MQ, command]) + data, 1)


def rss(
    table: tuple[int, ...] = (0, 1, 2, 3), types: int = 0x3F, unclassified: int = 2, pairs: int = 4, key: bytes = KEY
) -> bytes:
    head = struct.pack("<IHH", types, len(table) - 1, unclassified)
    return head + struct.pack(f"<{len(table)}HHB", *table, pairs, len(key)) + key


def hash_config(types: int = 0x1FF, key: bytes = KEY, reserved: bytes = bytes(8)) -> bytes:
    return struct.pack("<I8sB", types, reserved, len(key)) + key


@pytest.mark.parametrize("table", [(3,), (0, 1), tuple(n % 4 for n in range(128))])
@pytest.mark.parametrize("key", [b"", KEY[:16], KEY])
def test_scaling(function: Function, table: tuple[int, ...], key: bytes) -> None:
    answer, effects = send(function, n.CTRL_MQ_RSS_CONFIG, rss(table, key=key))
    assert (answer, effects.items) == (n.OK, (SetPairs(4), SetHash(True, 0x3F, key, table, 2)))


def test_receive_queues_beyond_the_transmit_queues_are_used(function: Function) -> None:
    """max_tx_vq bounds what is sent; the table alone says where frames are received."""
    _, effects = send(function, n.CTRL_MQ_RSS_CONFIG, rss((0, 2), unclassified=0, pairs=1))
    assert of_type(effects, SetPairs) == [SetPairs(3)]
    _, effects = send(function, n.CTRL_MQ_RSS_CONFIG, rss((0, 0), unclassified=3, pairs=1))
    assert of_type(effects, SetPairs) == [SetPairs(4)]
    assert function.state.net.pairs == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        rss()[:7],
        rss()[:17],
        rss()[:-1],
        rss(table=(0, 1, 2)),
        rss(table=(0,) * 256),
        rss(table=(0, 4)),
        rss(table=(0, 0x8001)),
        rss(types=1 << 9),
        rss(unclassified=4),
        rss(unclassified=0x8000),
        rss(pairs=0),
        rss(pairs=5),
        rss(key=bytes(41)),
        b"\0\0\0\0\xff\xff\0\0" + bytes(2 * 65536) + b"\1\0\0",
    ],
)
def test_scaling_that_cannot_be(function: Function, data: bytes) -> None:
    """§5.1.6.5.7.1.1: a power of two of queues that are there, up to 128; a key up to 40; known hash types."""
    assert send(function, n.CTRL_MQ_RSS_CONFIG, data) == (n.ERR, NOTHING)
    assert function.state.net == make(queues=9, features=REPORT).state.net


def test_bytes_after_the_key_are_passed_over(function: Function) -> None:
    """Linux 6.12 and 7.3 send one."""
    for command, data in ((n.CTRL_MQ_RSS_CONFIG, rss()), (n.CTRL_MQ_HASH_CONFIG, hash_config())):
        assert send(function, command, data + b"\x88")[0] == n.OK
        assert function.state.net.hash.key == KEY


def test_pairs_make_steering_automatic_again(function: Function) -> None:
    """§5.1.6.5.6: the last command decides. Hashes go on being reported as they were."""
    send(function, n.CTRL_MQ_RSS_CONFIG, rss())
    _, effects = send(function, n.CTRL_MQ_VQ_PAIRS_SET, b"\2\0")
    assert effects.items == (SetPairs(2), SetHash(False, 0x3F, KEY, (), 0))


def test_hashes_without_scaling(function: Function) -> None:
    """§5.1.6.5.6.4: the pairs stay as they are."""
    send(function, n.CTRL_MQ_VQ_PAIRS_SET, b"\2\0")
    answer, effects = send(function, n.CTRL_MQ_HASH_CONFIG, hash_config())
    assert (answer, effects.items) == (n.OK, (SetPairs(2), SetHash(False, 0x1FF, KEY, (), 0)))


def test_reserved_words_of_a_hash_command_are_not_looked_at(function: Function) -> None:
    assert send(function, n.CTRL_MQ_HASH_CONFIG, hash_config(reserved=b"\1" * 8))[0] == n.OK


@pytest.mark.parametrize(
    "data",
    [
        b"",
        hash_config()[:12],
        hash_config()[:-1],
        hash_config(1 << 31),
        hash_config(key=bytes(41)),
    ],
)
def test_hashes_that_cannot_be(function: Function, data: bytes) -> None:
    assert send(function, n.CTRL_MQ_HASH_CONFIG, data) == (n.ERR, NOTHING)


@pytest.mark.parametrize(("without", "command"), [(RSS, n.CTRL_MQ_RSS_CONFIG), (REPORT, n.CTRL_MQ_HASH_CONFIG)])
def test_command_of_a_feature_that_was_not_negotiated(without: int, command: int) -> None:
    function = make(queues=9, features=REPORT)
    modern = Modern(function)
    modern.bring_up(modern.offered() & ~without, queues=9)
    assert send(function, command, rss() if command == n.CTRL_MQ_RSS_CONFIG else hash_config()) == (n.ERR, NOTHING)


@pytest.mark.parametrize(("features", "header"), [(REPORT, 20), (0, 12)])
def test_header_is_longer_with_hash_reports(features: int, header: int) -> None:
    """§5.1.6: 20 bytes with HASH_REPORT."""
    function = make(queues=9, features=REPORT)
    needed = f.mask_of(f.VERSION_1, f.NET_CTRL_VQ)
    effects = Modern(function).bring_up(needed | features)
    assert {start.header for start in of_type(effects, StartQueue)} == {header}


def test_scaling_alone_makes_several_pairs() -> None:
    """§5.1.2: N is max_virtqueue_pairs if MQ or RSS is negotiated."""
    function = make(queues=9, features=REPORT)
    modern = Modern(function)
    modern.bring_up(modern.offered() & ~MQ, queues=9)
    assert send(function, n.CTRL_MQ_RSS_CONFIG, rss())[0] == n.OK


def test_scaling_survives_a_restart_and_ends_with_a_reset(function: Function) -> None:
    send(function, n.CTRL_MQ_RSS_CONFIG, rss())
    again = Function.restore(function.state)
    assert of_type(again.start_effects(), SetHash) == [SetHash(True, 0x3F, KEY, (0, 1, 2, 3), 2)]
    assert of_type(again.reset(), SetHash) == [AUTOMATIC]
    assert again.state.net == make(queues=9, features=REPORT).state.net


def test_with_one_pair_a_hash_is_of_use_to_a_report_only() -> None:
    """So nothing is hashed for a driver that takes RSS and has one pair, as Linux does."""
    for taken, types in ((RSS, 0), (RSS | REPORT, 0x3F)):
        function = make(queues=9, features=REPORT)
        Modern(function).bring_up(f.mask_of(f.VERSION_1, f.NET_CTRL_VQ) | MQ | taken, queues=9)
        _, effects = send(function, n.CTRL_MQ_RSS_CONFIG, rss((0,) * 128, unclassified=0, pairs=1))
        (pairs,), (told,) = of_type(effects, SetPairs), of_type(effects, SetHash)
        assert (pairs.pairs, told.types, told.steer) == (1, types, bool(types))
