"""Both drivers against the device model, joined in memory; the model forgets all but its state before every call."""

from collections.abc import Iterator

import pytest

from softdpu.net.state import FunctionConfig
from softdpu.spec import features as f
from softdpu.spec import virtio_net as net
from softdpu.spec.virtio_pci import DRIVER_OK
from softdpu.testkit import (
    ALL_FEATURES,
    BROADCAST,
    IN_ORDER,
    NOTIFICATION_DATA,
    PACKED,
    Driver,
    GuestMemory,
    LegacyDriver,
    ModernDriver,
    frame,
)
from softdpu.virtio import effects as fx
from tests.testkit.joined import Joined

MAC = bytes.fromhex("0cc47aff2293")
PEER = bytes.fromhex("0200000000aa")
HELLO = frame(BROADCAST, PEER, b"hello")
DRIVERS = (LegacyDriver, ModernDriver)


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    with GuestMemory() as memory:
        yield memory


@pytest.fixture
def card(memory: GuestMemory) -> Joined:
    return Joined(configuration(), memory, restless=True)


def configuration(queues: int = 3, vectors: int = 4, features: int = 0) -> FunctionConfig:
    return FunctionConfig(
        layout="transitional",
        mac=MAC,
        mtu=1500,
        queues=queues,
        queue_size=256,
        vectors=vectors,
        features=features,
        speed=25000,
    )


@pytest.fixture(
    params=[(kind, mode) for kind in DRIVERS for mode in ("msix", "intx")], ids=lambda p: f"{p[0].__name__}-{p[1]}"
)
def driver(request: pytest.FixtureRequest, card: Joined, memory: GuestMemory) -> Iterator[Driver]:
    kind, mode = request.param
    with kind(card, memory, interrupts=mode) as driver:
        yield driver.start()


def test_driver_reads_what_the_device_is(driver: Driver) -> None:
    assert driver.status & DRIVER_OK
    assert (driver.mac, driver.mtu, driver.link_up) == (MAC, 1500, True)


def test_frames_go_both_ways(driver: Driver, card: Joined) -> None:
    driver.send(HELLO)
    assert card.sent == [bytes(driver.header) + HELLO]
    card.deliver(HELLO)
    assert driver.receive(1) == HELLO


def test_many_frames_use_the_buffers_again(driver: Driver, card: Joined) -> None:
    for number in range(300):
        numbered = frame(BROADCAST, PEER, number.to_bytes(2))
        driver.send(numbered)
        assert card.sent.pop()[driver.header :] == numbered
        card.deliver(numbered)
        assert driver.receive(1) == numbered


def test_frame_cut_into_pieces_arrives_whole(driver: Driver, card: Joined) -> None:
    total = driver.header + len(HELLO)
    driver.send(HELLO, pieces=[3, 20, 1, total - 24])
    assert card.sent == [bytes(driver.header) + HELLO]


def test_control_command_is_acknowledged(driver: Driver, card: Joined) -> None:
    assert driver.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\x01") == net.OK
    filters = [effect for effect in card.history if isinstance(effect, fx.SetFilter)]
    assert filters[-1].promiscuous


def test_unknown_control_command_is_refused(driver: Driver) -> None:
    assert driver.control(200, 0) == net.ERR


def test_link_change_interrupts(driver: Driver, card: Joined) -> None:
    card.apply(card.function.set_link(False))
    driver.wait_config_change(1)
    assert not driver.link_up


def test_reset_stops_every_queue_and_start_works_again(driver: Driver, card: Joined) -> None:
    driver.reset()
    assert not card.queues
    driver.start()
    card.deliver(HELLO)
    assert driver.receive(1) == HELLO


def test_broken_queue_is_told_to_a_modern_driver_alone(driver: Driver, card: Joined) -> None:
    """virtio 1.3 §2.1.2: NEEDS_RESET, and a configuration interrupt; a legacy driver does not know the bit."""
    card.apply(card.function.queue_fault(1, "a loop"))
    assert driver.needs_reset is not driver.legacy
    assert card.function.faults == ("queue 1: a loop",)


def test_legacy_mac_is_written_by_a_driver_without_the_command(card: Joined, memory: GuestMemory) -> None:
    """virtio 1.3 §5.1.4.3"""
    with LegacyDriver(card, memory, wanted=ALL_FEATURES & ~f.mask_of(f.NET_CTRL_MAC_ADDR)).start() as driver:
        driver.write_config(0, PEER)
        assert driver.mac == PEER


@pytest.mark.parametrize("kind", DRIVERS)
def test_every_pair_has_its_queues(memory: GuestMemory, kind: type[Driver]) -> None:
    card = Joined(configuration(queues=9, vectors=10), memory, restless=True)
    with kind(card, memory, pairs=4, buffers=8).start() as driver:
        assert driver.max_pairs == 4
        for pair in range(4):
            card.deliver(HELLO, queue=2 * pair)
            assert driver.receive(1, pair) == HELLO
        assert fx.SetPairs(pairs=4) in card.history


def test_modern_queue_is_reset_and_restarted(card: Joined, memory: GuestMemory) -> None:
    """virtio 1.3 §4.1.4.3.1"""
    with ModernDriver(card, memory).start() as driver:
        assert driver.has(f.RING_RESET)
        driver.reset_queue(0)
        assert 0 not in card.queues
        driver.restart_queue(0)
        card.deliver(HELLO)
        assert driver.receive(1) == HELLO


def test_modern_ring_may_be_smaller_than_offered(card: Joined, memory: GuestMemory) -> None:
    with ModernDriver(card, memory, queue_size=64).start() as driver:
        assert driver.rings[0].size == card.queues[0][0].size == 64


@pytest.mark.parametrize(
    "missing", [(), (f.ANY_LAYOUT,), (f.NET_MRG_RXBUF,), (f.ANY_LAYOUT, f.NET_MRG_RXBUF), (f.EVENT_IDX,)]
)
def test_legacy_without_features(card: Joined, memory: GuestMemory, missing: tuple[int, ...]) -> None:
    with LegacyDriver(card, memory, wanted=ALL_FEATURES & ~f.mask_of(*missing)).start() as driver:
        driver.send(HELLO)
        card.deliver(HELLO)
        assert card.sent[0][driver.header :] == driver.receive(1) == HELLO


@pytest.mark.parametrize("added", [PACKED, IN_ORDER, NOTIFICATION_DATA, PACKED | IN_ORDER | NOTIFICATION_DATA])
def test_modern_layouts(memory: GuestMemory, added: int) -> None:
    card = Joined(configuration(features=added), memory, restless=True)
    with ModernDriver(card, memory, wanted=ALL_FEATURES | added, queue_size=8, buffers=8).start() as driver:
        assert driver.features & added == added
        for number in range(50):
            numbered = frame(BROADCAST, PEER, number.to_bytes(2))
            driver.send(numbered, pieces=(3, 20, driver.header + len(numbered) - 23) if number % 2 else ())
            assert card.sent.pop()[driver.header :] == numbered
            card.deliver(numbered)
            assert driver.receive(1) == numbered
        assert driver.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\x01") == net.OK
