"""Steering commands that cannot be (virtio 1.3 §5.1.6.5.6, §5.1.6.5.7): refused, and the last good one stays."""

import random
from collections.abc import Iterator

import pytest

from softdpu.spec import features as f
from softdpu.spec import virtio_net as n
from softdpu.testkit import ALL_FEATURES, BROADCAST, ModernDriver, frame
from tests.dpu_under_test import Dpu, Plugged
from tests.small_guest import SmallGuest

WANTED = ALL_FEATURES | f.mask_of(f.NET_RSS)
PAIRS = 2
KEY = bytes(range(40))


@pytest.fixture(scope="module")
def device(dpu: Dpu) -> Iterator[Plugged]:
    """One with two pairs of queues."""
    device = dpu.hotplug(queues=2 * PAIRS + 1)
    yield device
    dpu.unplug(device)


@pytest.fixture
def guest(device: Plugged) -> Iterator[SmallGuest]:
    with SmallGuest(device, ModernDriver, wanted=WANTED, pairs=PAIRS) as guest:
        assert guest.net.has(f.NET_RSS)
        yield guest


def rss(
    *,
    types: int = 1,
    table: tuple[int, ...] = (1, 1),
    mask: int | None = None,
    unclassified: int = 1,
    pairs: int = PAIRS,
    key: bytes = KEY,
    key_length: int | None = None,
) -> bytes:
    """A configuration, right but for what is said otherwise."""
    head = n.RSS_HEAD.pack(types, len(table) - 1 if mask is None else mask, unclassified)
    tail = n.RSS_TAIL.pack(pairs, len(key) if key_length is None else key_length)
    return head + b"".join(entry.to_bytes(2, "little") for entry in table) + tail + key


WRONG = {
    "empty": b"",
    "cut_off_in_the_head": rss()[:7],
    "cut_off_in_the_table": rss()[:10],
    "cut_off_in_the_key": rss()[:-1],
    "mask_that_is_none": rss(mask=2, table=(0, 0, 0)),
    "mask_larger_than_the_table": rss(mask=0xFFFF),
    "table_longer_than_the_device_has": rss(table=(0,) * 256),
    "queue_that_does_not_exist": rss(table=(0, PAIRS)),
    "queue_number_with_the_reserved_bit": rss(table=(0, 0x8000)),
    "unclassified_queue_that_does_not_exist": rss(unclassified=PAIRS),
    "no_transmit_queues": rss(pairs=0),
    "more_transmit_queues_than_there_are": rss(pairs=PAIRS + 1),
    "hash_type_that_was_not_offered": rss(types=1 << 31),
    "key_longer_than_the_device_has": rss(key=bytes(41)),
}


@pytest.mark.parametrize("request_", WRONG.values(), ids=WRONG.keys())
def test_refused_and_the_last_one_stays(dpu: Dpu, guest: SmallGuest, request_: bytes) -> None:
    assert guest.net.control(n.CTRL_MQ, n.CTRL_MQ_RSS_CONFIG, rss()) == n.OK
    assert guest.net.control(n.CTRL_MQ, n.CTRL_MQ_RSS_CONFIG, request_) == n.ERR
    with dpu.representor(guest.device) as outside:
        sent = frame(BROADCAST, bytes(6), b"not IP")
        outside.send(sent)
        assert guest.net.receive(pair=1) == sent, "where what has no hash goes"
    assert not guest.net.needs_reset


def test_hash_report_configuration_that_was_not_negotiated(guest: SmallGuest) -> None:
    config = n.HASH_HEAD.pack(1, len(KEY)) + KEY
    assert guest.net.control(n.CTRL_MQ, n.CTRL_MQ_HASH_CONFIG, config) == n.ERR


def test_noise(guest: SmallGuest) -> None:
    chance = random.Random(22)
    for _ in range(300):
        good = bytearray(rss(table=(0,) * chance.choice((1, 2, 128))))
        for _ in range(chance.randrange(1, 5)):
            good[chance.randrange(min(len(good), 14))] = chance.randrange(256)
        request = bytes(good[: chance.choice((len(good), chance.randrange(len(good))))])
        assert guest.net.control(n.CTRL_MQ, n.CTRL_MQ_RSS_CONFIG, request) in (n.OK, n.ERR)
    assert not guest.net.needs_reset
