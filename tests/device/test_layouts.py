"""Either ring layout, buffers used in order or not, notifications with data or not (virtio 1.3 §2.7-2.9)."""

from collections.abc import Iterator

import pytest

from softdpu.spec import virtio_net as net
from softdpu.testkit import ALL_FEATURES, ModernDriver, frame
from softdpu.testkit.net import IN_ORDER, NOTIFICATION_DATA, PACKED
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest

ELSEWHERE = bytes.fromhex("02000000fffe")
WAYS = {
    "packed": PACKED,
    "packed, in order": PACKED | IN_ORDER,
    "packed, with data": PACKED | NOTIFICATION_DATA,
    "split, in order": IN_ORDER,
    "split, with data": NOTIFICATION_DATA,
    "everything": PACKED | IN_ORDER | NOTIFICATION_DATA,
}


@pytest.fixture(scope="module")
def device(dpu: Dpu) -> Iterator[Plugged]:
    """One that offers packed rings."""
    device = dpu.hotplug(features=PACKED)
    yield device
    dpu.unplug(device)


@pytest.fixture
def outside(dpu: Dpu, device: Plugged) -> Iterator[Representor]:
    with dpu.representor(device) as outside:
        yield outside


@pytest.mark.parametrize("size", [16, 256])
@pytest.mark.parametrize("features", WAYS.values(), ids=WAYS)
def test_frames_pass_both_ways_many_times_round_the_ring(
    device: Plugged, outside: Representor, features: int, size: int
) -> None:
    with SmallGuest(device, ModernDriver, wanted=ALL_FEATURES | features, queue_size=size, buffers=size // 2) as guest:
        assert guest.net.features & features == features
        for start in range(0, 3 * size, 8):
            out = [frame(ELSEWHERE, device.mac, b"%05d" % number) for number in range(start, start + 8)]
            guest.net.send_batch(out)
            assert [outside.receive() for _ in out] == out
            back = [frame(device.mac, ELSEWHERE, b"%05d" % number) for number in range(start, start + 8)]
            for one in back:
                outside.send(one)
            assert [guest.net.receive() for _ in back] == back


@pytest.mark.parametrize("features", WAYS.values(), ids=WAYS)
def test_control_commands(device: Plugged, features: int) -> None:
    with SmallGuest(device, ModernDriver, wanted=ALL_FEATURES | features) as guest:
        for _ in range(300):
            assert guest.net.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\1") == net.OK


@pytest.mark.parametrize("size", [1, 3, 100, 255])
def test_a_packed_ring_of_any_size(device: Plugged, outside: Representor, size: int) -> None:
    wanted = ALL_FEATURES | PACKED
    with SmallGuest(device, ModernDriver, wanted=wanted, queue_size=size, buffers=size) as guest:
        for number in range(2 * size + 3):
            sent = frame(ELSEWHERE, device.mac, b"%05d" % number)
            guest.net.send(sent)
            assert outside.receive() == sent
            back = frame(device.mac, ELSEWHERE, b"%05d" % number)
            outside.send(back)
            assert guest.net.receive() == back
