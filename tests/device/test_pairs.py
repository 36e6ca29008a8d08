"""Several receive/transmit pairs (virtio 1.3 §5.1.6.5.6), and queues that are reset one by one (§4.1.4.3.1)."""

from collections.abc import Iterator

import pytest

from softdpu.spec import virtio_net as net
from softdpu.testkit import Driver, LegacyDriver, ModernDriver, frame
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest

ELSEWHERE = bytes.fromhex("02000000fffe")
PAIRS = 4


@pytest.fixture(scope="module")
def device(dpu: Dpu) -> Iterator[Plugged]:
    """A device with four pairs and a control queue."""
    device = dpu.hotplug(queues=2 * PAIRS + 1)
    yield device
    dpu.unplug(device)


@pytest.fixture(params=[LegacyDriver, ModernDriver], ids=lambda kind: kind.__name__)
def guest(request: pytest.FixtureRequest, device: Plugged) -> Iterator[SmallGuest]:
    """A guest that uses all of them."""
    with SmallGuest(device, request.param, pairs=PAIRS, buffers=32) as guest:
        yield guest


def receive_anywhere(guest: SmallGuest) -> bytes:
    """The next frame, whatever queue it came on."""
    for _ in range(1000):
        for pair in range(guest.net.pairs):
            if guest.net.rings[2 * pair].pending:
                return guest.net.receive(pair=pair)
        try:
            return guest.net.receive(0.002)
        except TimeoutError:
            continue
    raise TimeoutError


def test_every_transmit_queue_works(guest: SmallGuest, outside: Representor) -> None:
    assert guest.net.max_pairs == PAIRS
    for pair in range(PAIRS):
        sent = frame(ELSEWHERE, guest.device.mac, b"from %d" % pair)
        guest.net.send(sent, pair)
        assert outside.receive() == sent


def test_frames_come_in_on_some_receive_queue(guest: SmallGuest, outside: Representor) -> None:
    for number in range(64):
        sent = frame(guest.device.mac, ELSEWHERE, b"%d" % number)
        outside.send(sent)
        assert receive_anywhere(guest) == sent


def test_one_pair_means_the_first(guest: SmallGuest, outside: Representor) -> None:
    assert guest.net.use_pairs(1) == net.OK
    for number in range(32):
        sent = frame(guest.device.mac, ELSEWHERE, b"%d" % number)
        outside.send(sent)
        assert guest.net.receive(pair=0) == sent


@pytest.mark.parametrize("pairs", [0, PAIRS + 1, 0x8000, 0xFFFF])
def test_pairs_that_are_not_there(guest: SmallGuest, pairs: int) -> None:
    assert guest.net.use_pairs(pairs) == net.ERR


@pytest.mark.parametrize("kind", [LegacyDriver, ModernDriver])
def test_driver_that_uses_fewer_than_there_are(device: Plugged, outside: Representor, kind: type[Driver]) -> None:
    with SmallGuest(device, kind, pairs=1) as guest:
        assert guest.net.control_queue == 2 * PAIRS
        assert guest.net.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\1") == net.OK
        outside.send(frame(guest.device.mac, ELSEWHERE))
        assert guest.net.receive()


def test_queue_reset_leaves_the_others_alone(device: Plugged, outside: Representor) -> None:
    with SmallGuest(device, ModernDriver, pairs=PAIRS, buffers=32) as guest:
        modern = guest.net
        assert isinstance(modern, ModernDriver)
        for _ in range(20):
            modern.reset_queue(3)
            sent = frame(ELSEWHERE, guest.device.mac, b"others")
            modern.send(sent, pair=2)
            assert outside.receive() == sent
            modern.restart_queue(3)
            modern.send(sent, pair=1)
            assert outside.receive() == sent


def test_reset_receive_queue_starts_at_nothing(device: Plugged, outside: Representor) -> None:
    with SmallGuest(device, ModernDriver) as guest:
        modern = guest.net
        assert isinstance(modern, ModernDriver)
        for number in range(20):
            modern.reset_queue(0)
            modern.restart_queue(0)
            sent = frame(guest.device.mac, ELSEWHERE, b"%d" % number)
            outside.send(sent)
            assert modern.receive() == sent
