"""A device is saved and restored with a guest at work: not one frame twice, out of order, or lost."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from softdpu.controller.errors import OperatorError
from softdpu.datapath import ledger
from softdpu.net.saved import decode, encode
from softdpu.spec import features as f
from softdpu.spec import virtio_net as net
from softdpu.testkit import ALL_FEATURES, PACKED, Buffer, Driver, LegacyDriver, ModernDriver, frame
from softdpu.virtio.standing import QueueStanding, Standing
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest

SOURCE = bytes.fromhex("02000000fffe")
STRANGER = bytes.fromhex("0200000000aa")
TYPE, REVERSE_ARP = slice(12, 14), b"\x80\x35"
KINDS: dict[str, tuple[type[Driver], dict[str, Any]]] = {
    "legacy": (LegacyDriver, {}),
    "modern": (ModernDriver, {}),
    "packed": (ModernDriver, {"wanted": ALL_FEATURES | PACKED}),
    "legacy-intx": (LegacyDriver, {"interrupts": "intx"}),
    "modern-polling": (ModernDriver, {"interrupts": "none"}),
}


def numbered(to: bytes, source: bytes, number: int) -> bytes:
    return frame(to, source, b"number %06d" % number)


def heard(outside: Representor) -> bytes:
    """The next frame that is not the device's own word of where its guest is now."""
    while (came := outside.receive())[TYPE] == REVERSE_ARP:
        pass
    return came


def drained(outside: Representor) -> list[bytes]:
    """All frames but those."""
    return [came for came in outside.drain() if came[TYPE] != REVERSE_ARP]


@contextmanager
def plugged(dpu: Dpu, **options: Any) -> Iterator[Plugged]:
    device = dpu.hotplug(features=PACKED, **options)
    yield device
    dpu.unplug(device)


@pytest.fixture
def pair(dpu: Dpu) -> Iterator[tuple[Plugged, Plugged]]:
    """Two devices of one shape."""
    with plugged(dpu) as first, plugged(dpu) as second:
        yield first, second


@pytest.fixture(params=KINDS)
def guest(request: pytest.FixtureRequest, pair: tuple[Plugged, Plugged]) -> Iterator[SmallGuest]:
    """A guest on the first of the devices."""
    kind, options = KINDS[request.param]
    with SmallGuest(pair[0], kind, **options) as guest:
        assert guest.net.has(f.RING_PACKED) == (request.param == "packed")
        yield guest


def exchange(guest: SmallGuest, outside: Representor, numbers: range) -> None:
    """Frames with these numbers pass both ways."""
    mac = guest.net.mac
    for number in numbers:
        guest.net.send(numbered(SOURCE, mac, number))
        outside.send(numbered(mac, SOURCE, number))
        assert heard(outside) == numbered(SOURCE, mac, number)
        assert guest.net.receive() == numbered(mac, SOURCE, number)


def moved(guest: SmallGuest, source: Dpu, target: Dpu, device: Plugged) -> None:
    """Saved here, restored there."""
    state = source.save(guest.device, stop=True)
    guest.move(device)
    target.restore(device, state)


def test_a_guest_goes_on_at_another_device(dpu: Dpu, pair: tuple[Plugged, Plugged], guest: SmallGuest) -> None:
    with dpu.representor(pair[0]) as here, dpu.representor(pair[1]) as there:
        exchange(guest, here, range(300))  # more than a ring has
        moved(guest, dpu, dpu, pair[1])
        exchange(guest, there, range(300, 600))
        assert (drained(here), drained(there), guest.net.drain()) == ([], [], [])
        assert not guest.net.needs_reset


def test_everyone_is_told_where_the_guest_is_now(dpu: Dpu, pair: tuple[Plugged, Plugged], guest: SmallGuest) -> None:
    """By the device, and by its driver, which is asked to (virtio 1.3 §5.1.6.5.4)."""
    with dpu.representor(pair[1]) as there:
        moved(guest, dpu, dpu, pair[1])
        told = there.receive()
        assert (told[TYPE], told[6:12]) == (REVERSE_ARP, guest.net.mac)
        assert guest.net.config("status") & net.ANNOUNCE


def test_what_was_under_way_is_sent_once_and_in_order(
    dpu: Dpu, pair: tuple[Plugged, Plugged], guest: SmallGuest
) -> None:
    """The guest sends on while its device is taken from it, and its kicks go nowhere."""
    mac = guest.net.mac
    with dpu.representor(pair[0]) as here, dpu.representor(pair[1]) as there:
        for number in range(20):
            guest.net.send(numbered(SOURCE, mac, number))
        state = dpu.save(pair[0], stop=True)
        for number in range(20, 40):
            guest.net.send(numbered(SOURCE, mac, number))
        before = drained(here)
        guest.move(pair[1])
        dpu.restore(pair[1], state)
        after = [heard(there) for _ in range(40 - len(before))]
        assert before + after == [numbered(SOURCE, mac, number) for number in range(40)]
        assert drained(here) + drained(there) == []


def test_moves_at_random_moments_neither_double_nor_reorder_nor_lose(
    dpu: Dpu, pair: tuple[Plugged, Plugged], guest: SmallGuest
) -> None:
    """Of what waits for the guest outside when it goes, it has received the first: the rest stays there."""
    chance, mac, sent = random.Random(1), guest.net.mac, 0
    ends = [dpu.representor(device) for device in pair]
    for turn in range(10):
        here, there, first = ends[turn % 2], ends[1 - turn % 2], sent
        came = [numbered(mac, SOURCE, number) for number in range(chance.randint(1, 50))]
        for question in came:
            here.send(question)
        for _ in range(chance.randint(1, 50)):
            guest.net.send(numbered(SOURCE, mac, sent))
            sent += 1
        state = dpu.save(guest.device, stop=True)
        left = drained(here)
        guest.move(pair[1 - turn % 2])
        dpu.restore(guest.device, state)
        left += [heard(there) for _ in range(sent - first - len(left))]
        assert left == [numbered(SOURCE, mac, number) for number in range(first, sent)]
        got = guest.net.drain()
        assert got == came[: len(got)]
    assert [drained(end) for end in ends] == [[], []]
    assert [ledger.of_port(dpu.ledgers()[device.vuid]).missing for device in pair] == [0, 0]


def test_a_stopped_device_touches_nothing_and_goes_on_when_it_is_let(
    dpu: Dpu, pair: tuple[Plugged, Plugged], guest: SmallGuest
) -> None:
    mac = guest.net.mac
    with dpu.representor(pair[0]) as outside:
        exchange(guest, outside, range(5))
        dpu.save(pair[0], stop=True)
        assert dpu.query(pair[0])["stopped"] == "1"
        before = guest.memory.read(guest.memory.base, guest.memory.size)
        outside.send(numbered(mac, SOURCE, 5))
        assert drained(outside) == []
        assert guest.memory.read(guest.memory.base, guest.memory.size) == before
        guest.net.send(numbered(SOURCE, mac, 5))
        dpu.resume(pair[0])
        assert heard(outside) == numbered(SOURCE, mac, 5)
        assert guest.net.receive() == numbered(mac, SOURCE, 5)
        exchange(guest, outside, range(6, 10))
        assert dpu.query(pair[0])["stopped"] == "0"


def test_saving_disturbs_no_frame(dpu: Dpu, pair: tuple[Plugged, Plugged], guest: SmallGuest) -> None:
    with dpu.representor(pair[0]) as outside:
        done = threading.Event()

        def save_again_and_again() -> None:
            while not done.is_set():
                states.append(dpu.save(pair[0]))

        states: list[bytes] = []
        saver = threading.Thread(target=save_again_and_again)
        saver.start()
        try:
            number = 0
            while len(states) < 20:
                exchange(guest, outside, range(number, number + 10))
                number += 10
        finally:
            done.set()
            saver.join()
        assert not guest.net.needs_reset


def test_an_old_state_is_no_use_to_a_guest_that_went_on(dpu: Dpu, pair: tuple[Plugged, Plugged]) -> None:
    """Its memory is of another moment: the device says so to its driver instead of guessing."""
    with SmallGuest(pair[0]) as guest, dpu.representor(pair[0]) as outside:
        old = dpu.save(pair[0])
        exchange(guest, outside, range(400))
        dpu.save(pair[0], stop=True)
        dpu.restore(pair[0], old)
        guest.net.send(numbered(SOURCE, guest.net.mac, 400))
        eventually(lambda: guest.net.needs_reset)


def eventually(what: Callable[[], bool]) -> None:
    for _ in range(500):
        if what():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it never came to be")


def test_what_the_driver_asked_for_comes_along(dpu: Dpu, pair: tuple[Plugged, Plugged], guest: SmallGuest) -> None:
    assert guest.net.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\0") == net.OK
    mac, features = guest.net.mac, dpu.query(pair[0])["driver_features"]
    moved(guest, dpu, dpu, pair[1])
    assert (guest.net.mac, dpu.query(pair[1])["driver_features"]) == (mac, features)
    with dpu.representor(pair[1]) as outside:
        outside.send(frame(STRANGER, SOURCE, b"not wanted"))
        exchange(guest, outside, range(3))
    assert guest.net.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\1") == net.OK
    with dpu.representor(pair[1]) as outside:
        outside.send(frame(STRANGER, SOURCE, b"wanted now"))
        assert b"wanted now" in guest.net.receive()


def offer_command(guest: SmallGuest, command: bytes) -> int:
    """Gives the control queue a command; where its answer of a byte will be."""
    queue, place = guest.net.control_queue, guest.memory.allocate(len(command) + 1)
    guest.memory.write(place, command + b"\xff")
    answer = place + len(command)
    guest.net.rings[queue].add([Buffer(place, len(command)), Buffer(answer, 1, writable=True)])
    guest.net.rings[queue].publish()
    guest.net.notify(queue)
    return answer


def answered(guest: SmallGuest, answer: int) -> bytes:
    """The answer to a command, once the device has used it."""
    queue = guest.net.control_queue
    guest.net.await_used(queue, 20)
    assert (guest.net.rings[queue].take() or ("", 0))[1] == 1
    return guest.memory.read(answer, 1)


def test_a_command_that_waits_is_executed_and_answered_once(dpu: Dpu, pair: tuple[Plugged, Plugged]) -> None:
    """It is given to a stopped device, which does not look; it is answered where the guest goes on."""
    with SmallGuest(pair[0]) as guest:
        state = dpu.save(pair[0], stop=True)
        answer = offer_command(guest, bytes([net.CTRL_RX, net.CTRL_RX_PROMISC, 0]))
        guest.move(pair[1])
        assert guest.memory.read(answer, 1) == b"\xff"
        dpu.restore(pair[1], state)
        assert answered(guest, answer) == net.OK
        assert not decode(dpu.save(pair[1])).state.net.filter.promiscuous
        assert guest.net.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\1") == net.OK


def test_a_command_that_was_executed_before_is_answered_and_not_executed_again(
    dpu: Dpu, pair: tuple[Plugged, Plugged]
) -> None:
    """As when its device was stopped after the controller had executed it, and before the ring was written."""
    with SmallGuest(pair[0]) as guest:
        saved = decode(dpu.save(pair[0], stop=True))
        answer = offer_command(guest, bytes([net.CTRL_RX, net.CTRL_RX_PROMISC, 0]))
        standing = saved.state.virtio.standing or Standing()
        here = standing.of(guest.net.control_queue) or QueueStanding(guest.net.control_queue, 0)
        kept = msgspec.structs.replace(here, answer=net.OK)
        saved.state.virtio.standing = msgspec.structs.replace(
            standing, queues=(*standing.without(here.queue).queues, kept)
        )
        guest.move(pair[1])
        dpu.restore(pair[1], encode(saved))
        assert answered(guest, answer) == net.OK
        assert decode(dpu.save(pair[1])).state.net.filter.promiscuous
        assert guest.net.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\0") == net.OK


def test_a_state_is_put_in_and_stays_stopped_when_that_is_asked(dpu: Dpu, pair: tuple[Plugged, Plugged]) -> None:
    with SmallGuest(pair[0]) as guest, dpu.representor(pair[1]) as outside:
        state = dpu.save(pair[0], stop=True)
        guest.move(pair[1])
        dpu.restore(pair[1], state, stop=True)
        guest.net.send(numbered(SOURCE, guest.net.mac, 0))
        assert drained(outside) == []
        assert decode(dpu.save(pair[1])).state.virtio == decode(state).state.virtio
        dpu.resume(pair[1])
        assert heard(outside) == numbered(SOURCE, guest.net.mac, 0)


def test_a_reset_of_a_stopped_device_begins_anew(dpu: Dpu, pair: tuple[Plugged, Plugged]) -> None:
    with SmallGuest(pair[0]) as guest, dpu.representor(pair[0]) as outside:
        dpu.save(pair[0], stop=True)
        guest.vmm.reset()
        assert dpu.query(pair[0])["stopped"] == "0"
        guest.net.msix_on, guest.net.interrupts = False, None
        guest.net.forget()
        guest.net.start()
        exchange(guest, outside, range(3))


def test_another_dpu_goes_on(own_dpu: Dpu, dpu: Dpu) -> None:
    with plugged(dpu) as first, plugged(own_dpu) as second, SmallGuest(first) as guest:
        with dpu.representor(first) as here:
            exchange(guest, here, range(50))
        moved(guest, dpu, own_dpu, second)
        with own_dpu.representor(second) as there:
            exchange(guest, there, range(50, 100))


# ---- refusals


def refusal(what: Callable[[], object]) -> str:
    with pytest.raises(OperatorError) as refused:
        what()
    return str(refused.value)


def test_nothing_is_put_into_a_device_whose_vmm_is_not_there(dpu: Dpu, pair: tuple[Plugged, Plugged]) -> None:
    with SmallGuest(pair[0]):
        state = dpu.save(pair[0])
    assert "no VMM is connected" in refusal(lambda: dpu.restore(pair[1], state))


def test_a_driver_at_work_keeps_its_device(dpu: Dpu, pair: tuple[Plugged, Plugged]) -> None:
    with SmallGuest(pair[0]) as guest, dpu.representor(pair[0]) as outside:
        state = dpu.save(pair[0])
        assert "a driver uses" in refusal(lambda: dpu.restore(pair[0], state))
        exchange(guest, outside, range(3))


def test_a_device_that_runs_has_nothing_to_resume(dpu: Dpu, pair: tuple[Plugged, Plugged]) -> None:
    assert "is not stopped" in refusal(lambda: dpu.resume(pair[0]))


def test_a_device_of_another_shape_is_named(dpu: Dpu, pair: tuple[Plugged, Plugged]) -> None:
    with SmallGuest(pair[0]), plugged(dpu, size=512) as other, SmallGuest(other):
        state = dpu.save(pair[0])
        assert "config.queue_size is 256, and 512" in refusal(lambda: dpu.restore(other, state))


def test_rings_that_are_not_in_the_memory_are_refused_and_the_device_is_as_it_was(
    dpu: Dpu, pair: tuple[Plugged, Plugged]
) -> None:
    with SmallGuest(pair[0]) as first, SmallGuest(pair[1]) as second, dpu.representor(pair[1]) as outside:
        state = dpu.save(pair[0])
        exchange(second, outside, range(30))
        second.memory.unmap_from(second.vmm)
        dpu.save(pair[1], stop=True)
        assert "rings are not where they were" in refusal(lambda: dpu.restore(pair[1], state))
        second.memory.map_into(second.vmm)
        dpu.resume(pair[1])
        exchange(second, outside, range(30, 60))
        assert not first.net.needs_reset


@pytest.mark.parametrize("what", [Dpu.save, lambda dpu, device: dpu.restore(device, b"")])
def test_the_state_of_a_vhost_user_device_is_its_vmms(dpu: Dpu, what: Callable[[Dpu, Plugged], object]) -> None:
    device = dpu.hotplug(export="vhost-user")
    try:
        assert "its state is a part of its VMM's" in refusal(lambda: what(dpu, device))
    finally:
        dpu.unplug(device)
