"""VMMs that move devices badly, and moves in which something dies."""

import errno
import os
import random
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from softdpu.net.migration import LONGEST, RECORD
from softdpu.spec import pci
from softdpu.spec.vfio import State
from softdpu.testkit import (
    BROADCAST,
    Client,
    Driver,
    GuestMemory,
    LegacyDriver,
    ModernDriver,
    Move,
    RequestFailed,
    frame,
)
from softdpu.testkit.link import Disconnected
from softdpu.testkit.wire import PAGE, Feature, FeatureFlag, Op
from tests.chatter import Chatter, Flow
from tests.dpu_under_test import Dpu, Plugged
from tests.hostile.conftest import Bystander
from tests.nomad import Nomad, connected
from tests.small_guest import SmallGuest

STATES = sorted(set(State) - {State.ERROR})
HUGE = 2 << 40


@pytest.fixture
def stream(neighbour: Plugged) -> bytes:
    """What a device with a running driver is moved by."""
    with SmallGuest(neighbour) as guest:
        guest.vmm.migration_state = State.PRE_COPY
        first = guest.vmm.migration_read_all()
        guest.vmm.migration_state = State.STOP_COPY
        return first + guest.vmm.migration_read_all()


def works(guest: SmallGuest, dpu: Dpu) -> bool:
    """Whether the device serves its driver, which begins anew."""
    guest.net.reset()
    guest.net.start()
    with dpu.representor(guest.device) as outside:
        guest.net.send(frame(BROADCAST, guest.net.mac, b"well again"))
        return b"well again" in outside.receive()


def resume(vmm: Client, data: bytes, chance: random.Random) -> bool:
    """Writes a stream in pieces; whether the device took it."""
    vmm.migration_state = State.RESUMING
    try:
        while data:
            size = chance.randrange(1, len(data) + 1)
            vmm.migration_write(data[:size])
            data = data[size:]
        vmm.migration_state = State.STOP
    except RequestFailed as refused:
        assert refused.errno == errno.EINVAL
        assert vmm.migration_state == State.RESUMING
        return False
    return True


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_that_is_cut_off_harms_nobody(dpu: Dpu, device: Plugged, stream: bytes, seed: int) -> None:
    chance = random.Random(seed)
    with SmallGuest(device) as guest:
        before = guest.net.read_config(0, 8), guest.net.status
        assert not resume(guest.vmm, stream[: chance.randrange(1, len(stream))], chance)
        assert (guest.net.read_config(0, 8), guest.net.status) == before
        guest.vmm.reset()
        guest.net.msix_on, guest.net.interrupts = False, None
        assert works(guest, dpu)


@pytest.mark.parametrize("seed", range(40))
def test_a_stream_that_is_changed_on_its_way_harms_nobody(dpu: Dpu, device: Plugged, stream: bytes, seed: int) -> None:
    chance, data = random.Random(seed), bytearray(stream)
    for _ in range(chance.randrange(1, 5)):
        place = chance.randrange(len(data))
        data[place] = chance.choice((data[place] ^ 1 << chance.randrange(8), chance.randrange(256), 0, 255))
    with SmallGuest(device, interrupts="none") as guest:
        if resume(guest.vmm, bytes(data), chance):
            with suppress(RequestFailed):
                guest.vmm.migration_state = State.RUNNING
        guest.vmm.reset()
        assert guest.vmm.migration_state == State.RUNNING
        assert works(guest, dpu)


def test_a_stream_without_end_is_refused(device: Plugged) -> None:
    with connected(device) as vmm:
        vmm.migration_state = State.RESUMING
        vmm.migration_write(RECORD.pack(b"LAST", LONGEST))
        with pytest.raises(RequestFailed) as refused:
            for _ in range(100):
                vmm.migration_write(bytes(65536))
        assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize("seed", range(10))
def test_noise_in_the_messages(dpu: Dpu, device: Plugged, seed: int) -> None:
    chance = random.Random(seed)
    commands = (Op.DEVICE_FEATURE, Op.MIG_DATA_READ, Op.MIG_DATA_WRITE)
    flags = (FeatureFlag.GET, FeatureFlag.SET, FeatureFlag.PROBE, FeatureFlag.SET | FeatureFlag.GET)
    numbers = (0, 1, PAGE, 1 << 16, 1 << 31, (1 << 64) - PAGE, (1 << 64) - 1)
    with SmallGuest(device, interrupts="none") as guest:
        for _ in range(300):
            head = struct.pack("<II", chance.choice((8, 4096)), chance.choice(list(Feature)) | chance.choice(flags))
            body = struct.pack("<4Q", *(chance.choice((*numbers, chance.getrandbits(64))) for _ in range(4)))
            data = chance.choice((head + body[: chance.randrange(33)], chance.randbytes(chance.randrange(64))))
            with suppress(RequestFailed):
                guest.vmm.request(chance.choice(commands), data)
        guest.vmm.reset()
        assert works(guest, dpu)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
@pytest.mark.parametrize("kind", [LegacyDriver, ModernDriver])
def test_a_vmm_that_leaves_in_the_middle(dpu: Dpu, device: Plugged, kind: type[Driver], state: State) -> None:
    with SmallGuest(device, kind) as guest:
        guest.vmm.start_dirty_log()
        guest.vmm.migration_state = state
        guest.net.send(frame(BROADCAST, guest.net.mac))
    with SmallGuest(device, kind) as guest:
        assert works(guest, dpu)


def test_a_driver_that_resets_its_function_while_it_is_moved(device: Plugged, neighbour: Plugged) -> None:
    """Its device runs on, without a migration; the move fails, and the other end is free again."""
    with SmallGuest(device) as guest, connected(neighbour) as target:
        move = Move(guest.vmm, guest.memory, target)
        move.begin()
        express = guest.net.card.capability(pci.CAP_ID_EXPRESS)
        assert express
        control = express.offset + pci.EXPRESS.offset("device_control")
        guest.net.card.set_config(control, 2, 1 << 15)
        assert guest.vmm.migration_state == State.RUNNING
        with pytest.raises(RequestFailed):
            guest.vmm.migration_read()
        move.call_off()
        target.reset()


def test_logs_asked_for_without_end_hold_up_nobody(device: Plugged, bystander: Bystander) -> None:
    fd = os.memfd_create("huge")
    os.ftruncate(fd, HUGE // 2)
    ended = threading.Event()

    def ask(vmm: Client) -> None:
        while not ended.is_set():
            vmm.dirty_log(0, 64 << 30)

    with connected(device) as vmm:
        vmm.dma_map(fd, address=0, length=HUGE // 2)
        os.close(fd)
        vmm.start_dirty_log()
        thread = threading.Thread(target=ask, args=(vmm,))
        thread.start()
        passed = [bystander.passes_frames() for _ in range(20)]
        ended.set()
        thread.join()
    assert all(passed)


def test_more_memory_than_is_logged(device: Plugged, memory: GuestMemory) -> None:
    fd = os.memfd_create("huge")
    os.ftruncate(fd, HUGE)
    with connected(device) as vmm, ExitStack() as stack:
        stack.callback(os.close, fd)
        vmm.dma_map(fd, address=1 << 50, length=HUGE)
        with pytest.raises(RequestFailed) as refused:
            vmm.start_dirty_log()
        assert refused.value.errno == errno.ENOMEM
        vmm.dma_unmap(1 << 50, HUGE)
        memory.map_into(vmm)
        vmm.start_dirty_log()
        vmm.dma_map(fd, address=1 << 50, length=HUGE)
        with pytest.raises(RequestFailed) as refused:
            vmm.dirty_log(memory.base, memory.size)
        assert refused.value.errno == errno.ENOSPC
        vmm.dma_unmap(1 << 50, HUGE)
        vmm.stop_dirty_log()
        vmm.start_dirty_log()
        assert not any(vmm.dirty_log(memory.base, memory.size))


def test_a_vmm_that_reads_no_reply_is_cut_off(device: Plugged) -> None:
    with connected(device) as vmm, GuestMemory() as memory:
        memory.map_into(vmm)
        vmm.start_dirty_log()
        asked = struct.pack("<IIQQQ", 1 << 22, Feature.DMA_LOGGING_REPORT | FeatureFlag.GET, 0, 64 << 30, PAGE)
        with pytest.raises((Disconnected, TimeoutError)):
            for _ in range(1000):
                vmm.send(Op.DEVICE_FEATURE, asked)


@pytest.fixture
def two_places(own_dpu: Dpu) -> Iterator[list[Plugged]]:
    """Two devices of one shape on a DPU whose controller may be killed."""
    yield [own_dpu.hotplug() for _ in range(2)]


@pytest.mark.parametrize("kind", [LegacyDriver, ModernDriver])
def test_a_controller_that_is_killed_in_the_middle_loses_nothing(
    own_dpu: Dpu, two_places: list[Plugged], kind: type[Driver]
) -> None:
    def killed() -> None:
        own_dpu.kill_controller()
        own_dpu.start_controller()

    flow = Flow(1)
    with SmallGuest(own_dpu.hotplug(), interrupts="none") as other, Nomad(two_places[0], kind) as nomad:
        mover, talker = Chatter(nomad.net, [(other.net.mac, flow)], []), Chatter(other.net, [], [flow])
        target = connected(two_places[1])
        with talker, mover, Move(nomad.vmm, nomad.memory, target) as move:
            move.begin()
            killed()
            move.round()
            with mover.still:
                move.stop()
                killed()
                nomad.arrive(move, target)
            killed()
            mover.quiet.set()
            assert nomad.net.control(0, 0, b"\1") == b"\0"
            time.sleep(0.2)
        assert (mover.error, talker.error) == (None, None)
        slow = own_dpu.counters(other.device)["drop_no_buffer"]
    assert (flow.lost, flow.duplicates, flow.reordered) == (slow, [], [])
    assert flow.sent > 10


def test_a_state_asked_for_while_no_controller_is_there_is_reached_when_one_comes(own_dpu: Dpu) -> None:
    with SmallGuest(own_dpu.hotplug()) as guest:

        def ask() -> None:
            with suppress(RequestFailed):
                guest.vmm.migration_state = State.STOP_COPY

        own_dpu.kill_controller()
        asking = threading.Thread(target=ask)
        asking.start()
        own_dpu.start_controller()
        asking.join()
        assert guest.vmm.migration_state in (State.STOP_COPY, State.RUNNING), "the latter, if it came too late"
        guest.vmm.migration_state = State.STOP_COPY
        assert guest.vmm.migration_read_all()
