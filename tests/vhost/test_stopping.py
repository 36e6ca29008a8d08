"""GET_VRING_BASE, SET_VRING_ENABLE, SET_STATUS, RESET_DEVICE: queues stop where they are told to, and go on there."""

import pytest

from softdpu.spec import features as f
from softdpu.spec.virtio_pci import ACKNOWLEDGE, DRIVER
from softdpu.testkit import ALL_FEATURES, PACKED, FrontEnd, VhostDriver, frame
from softdpu.testkit import vhost_wire as wire
from softdpu.testkit.packed import WRAP
from softdpu.testkit.vhost_wire import Request
from tests.vhost.back_ends import Datapath
from tests.vhost.breaking import closes
from tests.vhost.conftest import Plug

MACS = [bytes((2, 0, 0, 0, 0, number)) for number in (1, 2)]
LAYOUTS = {"split": ALL_FEATURES, "packed": ALL_FEATURES | PACKED}


def numbered(to: int, number: int) -> bytes:
    return frame(MACS[to], MACS[1 - to], b"%06d" % number)


def meet(a: VhostDriver, b: VhostDriver) -> None:
    """The switch learns where both are."""
    a.send(frame(b"\xff" * 6, MACS[0]))
    b.send(frame(b"\xff" * 6, MACS[1]))
    a.receive()
    b.receive()


@pytest.mark.parametrize("wanted", LAYOUTS.values(), ids=LAYOUTS)
def test_nothing_is_lost_or_doubled_by_a_stop_under_traffic(plug: Plug, wanted: int) -> None:
    """The sender is stopped between any two of its frames, and goes on at the next."""
    a, b = plug(0, wanted=wanted), plug(1, wanted=wanted, buffers=200)
    meet(a, b)
    received: list[bytes] = []
    for start in range(0, 600, 60):
        for number in range(start, start + 60):
            a.transmitters[0].add(numbered(1, number), (), 5)
        a.rings[1].publish()
        a.notify(1)
        a.resume(a.front, a.stop())
        received += [b.receive() for _ in range(60)]
    assert received == [numbered(1, number) for number in range(600)]


@pytest.mark.parametrize("wanted", LAYOUTS.values(), ids=LAYOUTS)
def test_receiver_goes_on_with_the_next_buffer(plug: Plug, wanted: int) -> None:
    a, b = plug(0, wanted=wanted), plug(1, wanted=wanted)
    meet(a, b)
    for number in range(150):
        a.send(numbered(1, number))
        assert b.receive() == numbered(1, number)
        if number % 10 == 0:
            b.resume(b.front, b.stop())


def test_position_of_a_split_ring_is_its_index(plug: Plug) -> None:
    a, b = plug(0), plug(1)
    meet(a, b)
    for number in range(20):
        a.send(numbered(1, number))
        b.receive()
    assert a.stop()[1] == a.split(1).used_index == 21


def test_position_of_a_packed_ring_has_both_wrap_counters(plug: Plug) -> None:
    a, b = plug(0, wanted=ALL_FEATURES | PACKED, queue_size=16, buffers=8), plug(1)
    meet(a, b)
    for number in range(20):
        a.send(numbered(1, number))
        b.receive()
    position = a.stop()[1]
    assert position & 0xFFFF == position >> 16 == 21 % 16, "once round: the counter is 0"
    a.resume(a.front, {0: WRAP | WRAP << 16, 1: position} | {0: a.front.vring_base(0)})


def test_stopped_ring_is_left_alone(plug: Plug) -> None:
    a, b = plug(0), plug(1)
    meet(a, b)
    a.stop()
    a.transmitters[0].add(numbered(1, 1), (), 5)
    a.rings[1].publish()
    a.notify(1)
    b.send(numbered(0, 1))
    assert b.drain() == []
    assert a.split(1).used_index == 1
    assert a.split(0).used_index == 1


def test_ring_that_runs_cannot_be_set_up_anew(plug: Plug) -> None:
    a = plug(0)
    a.front.send(Request.SET_VRING_BASE, wire.VRING_STATE.pack(index=0, value=0))
    assert closes(a.front)


def test_features_cannot_change_under_running_rings(plug: Plug) -> None:
    a = plug(0)
    a.front.send(Request.SET_FEATURES, wire.NUMBER.pack(value=f.mask_of(f.VERSION_1)))
    assert closes(a.front)


def test_disabled_ring_carries_no_frames(plug: Plug) -> None:
    a, b = plug(0), plug(1)
    meet(a, b)
    a.enable(0, on=False)
    for number in range(10):
        b.send(numbered(0, number))
    assert a.drain() == []
    a.enable(0)
    b.send(numbered(0, 99))
    assert a.drain()[-1] == numbered(0, 99)


def test_pairs_are_enabled_and_disabled_one_by_one(plug: Plug) -> None:
    a, b = plug(0, queues=5, pairs=2), plug(1)
    for pair in (0, 1):
        a.send(frame(b"\xff" * 6, MACS[0]), pair=pair)
        b.receive()
    for pair in (0, 1):
        a.send(numbered(1, pair), pair=pair)
        assert b.receive() == numbered(1, pair)
    a.enable(2, on=False)
    a.enable(3, on=False)
    for number in range(20):
        b.send(numbered(0, number))
    assert len([a.receive() for _ in range(20)]) == 20, "all of them in the pair that is left"


@pytest.mark.parametrize("way", ["status", "reset_device"])
def test_reset_stops_every_ring_and_the_next_start_is_fresh(plug: Plug, way: str) -> None:
    a, b = plug(0), plug(1)
    meet(a, b)
    reset(a.front, way)
    assert a.front.status == 0
    a.send(numbered(1, 1))
    assert b.drain() == []
    a.forget()
    a.start()
    a.send(numbered(1, 2))
    assert b.receive() == numbered(1, 2)


@pytest.mark.parametrize("wanted", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("way", ["status", "reset_device"])
def test_rings_go_on_where_they_stood_when_asked_after_a_reset(plug: Plug, wanted: int, way: str) -> None:
    """A VMM resets as the link goes down, asks then where the rings stand, and starts them there as it comes up."""
    a, b = plug(0, wanted=wanted), plug(1, wanted=wanted)
    meet(a, b)
    for number in range(300):
        a.send(numbered(1, number))
        assert b.receive() == numbered(1, number)
        b.send(numbered(0, number))
        assert a.receive() == numbered(0, number)
        if number % 50 == 0:
            reset(a.front, way)
            a.resume(a.front, a.stop())


def reset(front: FrontEnd, way: str) -> None:
    if way == "status":
        front.status = 0
    else:
        front.reset()


def test_status_is_what_was_written(front: FrontEnd) -> None:
    front.status = ACKNOWLEDGE | DRIVER
    assert front.status == ACKNOWLEDGE | DRIVER


@pytest.mark.parametrize("value", [0x100, 1 << 63])
def test_status_of_more_than_eight_bits(front: FrontEnd, value: int) -> None:
    front.send(Request.SET_STATUS, wire.NUMBER.pack(value=value))
    assert closes(front)


def test_broken_ring_is_told_by_its_eventfd_and_by_the_status(datapath: Datapath, plug: Plug) -> None:
    a, b, c = plug(0), plug(1), plug(2)
    ring = a.split(1)
    ring.write_descriptor(0, 0x7FFF_0000_0000, 64)
    ring.offer(0)
    ring.publish()
    a.notify(1)
    assert "outside" in datapath.event("queue_fault").cause
    assert a.errors.wait(1) == 1
    assert a.front.status & 0x40, "NEEDS_RESET"
    b.send(frame(b"\xff" * 6, MACS[1], b"well"))
    assert b"well" in c.receive()
