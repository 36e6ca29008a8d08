"""Saved states that are none: refused, and the guest whose device was to become that goes on undisturbed."""

import random
import threading

import msgspec
import pytest

from softdpu.controller.errors import OperatorError
from softdpu.net import saved
from softdpu.net.device import Function
from softdpu.net.validation import encode
from softdpu.virtio.standing import QueueStanding, Standing
from tests.dpu_under_test import Dpu, Plugged
from tests.hostile.conftest import Bystander, broken
from tests.small_guest import SmallGuest


@pytest.fixture
def state(dpu: Dpu, guest: SmallGuest) -> bytes:
    """The state of the guest's device."""
    return dpu.save(guest.device)


@pytest.fixture
def traffic(dpu: Dpu, guest: SmallGuest) -> Bystander:
    """The guest, whose frames must pass."""
    return Bystander(guest, dpu.representor(guest.device))


def put(dpu: Dpu, device: Plugged, data: bytes) -> str:
    """Why the state is refused, or nothing: the device went on with it."""
    dpu.save(device, stop=True)
    try:
        dpu.restore(device, data)
    except OperatorError as error:
        dpu.resume(device)
        return str(error)
    return ""


def test_one_cut_off_anywhere_is_refused(dpu: Dpu, guest: SmallGuest, traffic: Bystander, state: bytes) -> None:
    for length in range(0, len(state), 7):
        assert "is not restored: saved state: it is cut off" in put(dpu, guest.device, state[:length])
    assert traffic.passes_frames()


def test_bytes_changed_at_random_are_refused_or_taken_and_nobody_else_notices(
    dpu: Dpu, guest: SmallGuest, bystander: Bystander, state: bytes
) -> None:
    chance = random.Random(4)
    for _ in range(60):
        data = bytearray(state)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        put(dpu, guest.device, bytes(data))
        assert bystander.passes_frames()
    guest.vmm.reset()
    guest.net.forget()
    guest.net.start()
    assert not guest.net.needs_reset


@pytest.mark.parametrize("position", [1, 100, 32768, 65535])
def test_a_ring_that_stands_where_its_driver_never_was_costs_its_own_device(
    dpu: Dpu, guest: SmallGuest, bystander: Bystander, state: bytes, position: int
) -> None:
    function = saved.decode(state)
    function.state.virtio.standing = Standing((QueueStanding(0, position), QueueStanding(1, position)))
    assert put(dpu, guest.device, saved.encode(function)) == ""
    guest.net.notify(1)
    assert broken(dpu, guest, 10)
    assert bystander.passes_frames()


def test_rings_elsewhere_in_memory_are_found_out_and_the_guest_goes_on(
    dpu: Dpu, guest: SmallGuest, traffic: Bystander, state: bytes
) -> None:
    raw = msgspec.msgpack.decode(state)
    for queue in raw["state"]["virtio"]["queues"]:
        queue["descriptor"] += 1 << 40
    assert "is outside the guest's memory" in put(dpu, guest.device, msgspec.msgpack.encode(raw))
    assert traffic.passes_frames()
    assert not guest.net.needs_reset


def test_a_driver_that_never_rests_is_saved_as_it_was_at_some_moment_or_not(
    dpu: Dpu, guest: SmallGuest, bystander: Bystander
) -> None:
    """It resets its device and sets it up again all the while: what is saved is one state, that can be gone on with."""
    done = threading.Event()

    def never_rest() -> None:
        while not done.is_set():
            guest.net.reset()
            guest.net.start()

    driver = threading.Thread(target=never_rest)
    driver.start()
    try:
        states = [state for state in (saved_or_refused(dpu, guest.device) for _ in range(60)) if state]
    finally:
        done.set()
        driver.join()
    assert len(set(states)) > 1
    for state in states:
        function = Function.restore(saved.decode(state).state)
        assert encode(function.state) == encode(saved.fitted(saved.decode(state), function.state.config))
    assert bystander.passes_frames()


def saved_or_refused(dpu: Dpu, device: Plugged) -> bytes:
    try:
        return dpu.save(device)
    except OperatorError as error:
        assert "is busy setting it up" in str(error)
        return b""
