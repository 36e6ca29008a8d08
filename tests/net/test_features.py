"""What is offered, as the function is set up, and why not the rest."""

import pytest

from softdpu.net.features import ABSENT, DEFAULT, IMPLEMENTED, has_control, offered, pairs, withheld
from softdpu.net.state import FunctionConfig, Layout
from softdpu.spec import features as f
from softdpu.virtio.negotiation import missing
from tests.virtio.drivers import MAC


def config(layout: Layout = "transitional", queues: int = 5, features: int = 0) -> FunctionConfig:
    return FunctionConfig(layout=layout, mac=MAC, queues=queues, features=features)


@pytest.mark.parametrize("layout", ["modern", "transitional", "legacy"])
@pytest.mark.parametrize("queues", [2, 3, 4, 5, 65])
def test_no_bit_is_offered_without_what_it_requires(layout: Layout, queues: int) -> None:
    """virtio 1.3 §2.2.2."""
    offer = offered(config(layout, queues))
    assert [f.name_of(bit) for bit in f.bits_of(offer) if missing(f.FEATURES[bit], offer)] == []


@pytest.mark.parametrize("layout", ["modern", "transitional", "legacy"])
@pytest.mark.parametrize("queues", [2, 3, 5])
def test_each_implemented_bit_is_offered_or_explained(layout: Layout, queues: int) -> None:
    setup = config(layout, queues)
    assert offered(setup) | f.mask_of(*withheld(setup)) == IMPLEMENTED
    assert offered(setup) & f.mask_of(*withheld(setup)) == 0


@pytest.mark.parametrize(
    ("queues", "expected"),
    [(2, (1, False)), (3, (1, True)), (4, (1, True)), (5, (2, True)), (8, (3, True)), (65, (32, True))],
)
def test_pairs_and_control_queue(queues: int, expected: tuple[int, bool]) -> None:
    """§5.1.2: two virtqueues a pair, and one for control."""
    assert (pairs(config(queues=queues)), has_control(config(queues=queues))) == expected


def test_multiqueue_needs_two_pairs() -> None:
    for bit in (f.NET_MQ, f.NET_RSS):
        assert offered(config(queues=5)) >> bit & 1
        assert not offered(config(queues=3)) >> bit & 1


def test_access_platform_is_on_request() -> None:
    """As in QEMU: a legacy driver must be able to work without more ado."""
    assert not offered(config()) >> f.ACCESS_PLATFORM & 1
    assert offered(config(features=1 << 33)) >> f.ACCESS_PLATFORM & 1
    assert "legacy device" in withheld(config("legacy", features=1 << 33))[f.ACCESS_PLATFORM]


def test_packed_rings_are_offered_by_virtnet_conf_or_on_request() -> None:
    assert not offered(config()) >> f.RING_PACKED & 1
    assert "packed_vq is 0" in withheld(config())[f.RING_PACKED]
    assert offered(config(features=1 << f.RING_PACKED)) >> f.RING_PACKED & 1
    assert offered(FunctionConfig(layout="modern", mac=MAC, packed_vq=True)) >> f.RING_PACKED & 1


def test_default_bits() -> None:
    offloads = [0, 1, 2, 7, 8, 9, 11, 12, 13, 54, 55, 56]
    steering = [22, 60]
    coalescing = [52, 53]
    lengths = [59]
    statistics = [50]
    control = [16, 17, 18, 19, 20, 21, 23]
    rings = [27, 28, 29, 32, 35, 38, 40]
    of_network = [3, 5, 15, 63, *offloads, *steering, *coalescing, *lengths, *statistics, *control]
    assert f.bits_of(DEFAULT) == sorted([*of_network, *rings])


def test_hashes_are_not_reported_without_a_command_that_says_how() -> None:
    """§5.1.4.1."""
    assert "leave none for control" in withheld(config(queues=2))[f.NET_HASH_REPORT]
    assert offered(config(queues=3, features=1 << f.NET_HASH_REPORT)) >> f.NET_HASH_REPORT & 1
    assert "only on request" in withheld(config(queues=3))[f.NET_HASH_REPORT]


def test_each_bit_is_implemented_or_there_is_a_reason() -> None:
    assert set(f.FEATURES) == {*f.bits_of(IMPLEMENTED), *ABSENT}
    assert not IMPLEMENTED & f.mask_of(*ABSENT)


def test_mergeable_buffers_can_be_withheld() -> None:
    config = FunctionConfig(layout="transitional", mac=bytes.fromhex("0cc47aff2293"), mrg_rxbuf=False)
    assert not offered(config) >> f.NET_MRG_RXBUF & 1
