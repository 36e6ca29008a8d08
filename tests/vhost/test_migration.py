"""What a VMM needs to move a guest: the log of what the device writes, and the device's own state."""

import contextlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from softdpu.spec import features as f
from softdpu.testkit import vhost_wire as wire
from softdpu.testkit.frames import BROADCAST, frame
from softdpu.testkit.memory import GuestMemory
from softdpu.testkit.vhost import FrontEnd
from softdpu.testkit.vhost_driver import VhostDriver
from softdpu.testkit.vhost_wire import Request
from tests.vhost.back_ends import Datapath
from tests.vhost.breaking import closes
from tests.vhost.conftest import Plug

MODERN = f.mask_of(f.VERSION_1, f.NET_MRG_RXBUF)
LAYOUTS = {"split": MODERN, "packed": MODERN | f.mask_of(f.RING_PACKED), "legacy": 0}
SAVE, LOAD = 0, 1
SIZE = 1 << 20


class Log:
    """A log, as the VMM sees it."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("log")
        os.ftruncate(self.fd, SIZE)
        self.bits = mmap.mmap(self.fd, SIZE)

    def take(self) -> set[int]:
        """The pages marked since the last time."""
        found = {8 * at + bit for at, byte in enumerate(self.bits[:]) if byte for bit in range(8) if byte >> bit & 1}
        self.bits[:] = bytes(SIZE)
        return found


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.bits.close()
    os.close(log.fd)


def contents(memory: GuestMemory) -> list[bytes]:
    """Guest memory, page by page."""
    whole = memory.read(memory.base, memory.size)
    return [whole[at : at + wire.LOG_PAGE] for at in range(0, len(whole), wire.LOG_PAGE)]


def changed(driver: VhostDriver, before: list[bytes]) -> set[int]:
    """The pages whose contents changed, by guest page number."""
    after = contents(driver.memory)
    first = driver.memory.base // wire.LOG_PAGE
    return {first + page for page, (was, now) in enumerate(zip(before, after, strict=True)) if was != now}


@pytest.mark.parametrize("wanted", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_page_that_the_device_writes_is_marked(plug: Plug, log: Log, wanted: int) -> None:
    one, other = plug(0, wanted=wanted), plug(1)
    one.log_writes(log.fd, SIZE)
    log.take()
    for n in range(20):
        before = contents(one.memory)
        other.send(frame(BROADCAST, b"\2\0\0\0\0\2", bytes([n + 1]) * 1400))
        one.await_used(0, 5.0)
        one.stop()
        marked = log.take()
        written = changed(one, before)
        assert written
        assert written <= marked
        one.resume(one.front, one.stop())
        one.receive()


def test_a_sent_frame_marks_its_ring_and_no_buffer(plug: Plug, log: Log) -> None:
    one, other = plug(0), plug(1)
    one.log_writes(log.fd, SIZE)
    log.take()
    one.send(frame(BROADCAST, b"\2\0\0\0\0\1", bytes(1400)))
    other.receive()
    one.stop()
    ring = one.split(1)
    first, last = ring.device // wire.LOG_PAGE, (ring.device + 6 + 8 * ring.size) // wire.LOG_PAGE
    rings = {
        page for r in one.rings.values() for page in range(r.device // 4096, (r.device + 6 + 8 * r.size) // 4096 + 1)
    }
    marked = log.take()
    assert set(range(first, last + 1)) <= marked <= rings


def test_nothing_is_marked_once_logging_is_off(plug: Plug, log: Log) -> None:
    one, other = plug(0), plug(1)
    one.log_writes(log.fd, SIZE)
    one.log_writes(log.fd, SIZE, on=False)
    log.take()
    other.send(frame(BROADCAST, b"\2\0\0\0\0\2", bytes(1400)))
    one.receive()
    assert not log.take()


def move(front: FrontEnd, direction: int, given: bytes = b"") -> bytes:
    """Device state out of the back end, or into it."""
    reading, writing = os.pipe()
    end, theirs = (reading, writing) if direction == SAVE else (writing, reading)
    reply = front.ask(Request.SET_DEVICE_STATE_FD, direction.to_bytes(4, "little") + bytes(4), [theirs])
    os.close(theirs)
    assert reply.payload == (0x100).to_bytes(8, "little")
    if direction == SAVE:
        with os.fdopen(end, "rb") as pipe:
            return pipe.read()
    with os.fdopen(end, "wb") as pipe:
        pipe.write(given)
    return b""


def test_device_state_is_moved(datapath: Datapath) -> None:
    with FrontEnd(datapath.serve(0)) as source, FrontEnd(datapath.serve(1)) as target:
        for front in (source, target):
            front.negotiate(wire.Protocol.DEVICE_STATE | wire.Protocol.CONFIG | wire.Protocol.REPLY_ACK | 1 << 4)
        source.set_config(0, b"\2\0\0\0\0\7")
        source.set_number(Request.NET_SET_MTU, 1300)
        state = move(source, SAVE)
        assert source.number(Request.CHECK_DEVICE_STATE) == 0
        move(target, LOAD, state)
        assert target.number(Request.CHECK_DEVICE_STATE) == 0
        assert target.config(0, 6) == b"\2\0\0\0\0\7"
        datapath.update(1)
        assert datapath.agreements[1].mtu == 1300


@pytest.mark.parametrize("rubbish", [b"", b"rubbish", bytes(5000)], ids=["nothing", "a word", "too much"])
def test_state_that_is_none_is_refused(front: FrontEnd, rubbish: bytes) -> None:
    move(front, LOAD, rubbish)
    assert front.number(Request.CHECK_DEVICE_STATE)
    front.settle()


def test_state_in_pieces_is_whole_or_refused(datapath: Datapath, front: FrontEnd) -> None:
    """Every beginning of one, and one of each kind that another version would have."""
    state = move(front, SAVE)
    assert front.number(Request.CHECK_DEVICE_STATE) == 0
    versions = [state.replace(b"version\x01", b"version" + other) for other in (b"\x00", b"\x02", b"\xc0", b"\xa1x")]
    mtus = [state.replace(b"mtu\x00", b"mtu" + other) for other in (b"\xcd\xff\xff", b"\xce\0\1\0\0", b"\xff")]
    assert len({state, *versions, *mtus}) == 8
    for wrong in (*(state[:length] for length in range(len(state))), *versions, *mtus):
        move(front, LOAD, wrong)
        assert front.number(Request.CHECK_DEVICE_STATE), wrong
    move(front, LOAD, state)
    assert front.number(Request.CHECK_DEVICE_STATE) == 0


def test_state_whose_pipe_stays_open_is_refused(front: FrontEnd) -> None:
    """Its end has not come, and nobody waits for it."""
    reading, writing = os.pipe()
    front.ask(Request.SET_DEVICE_STATE_FD, LOAD.to_bytes(4, "little") + bytes(4), [reading])
    os.write(writing, b"half")
    assert front.number(Request.CHECK_DEVICE_STATE)
    os.close(reading)
    os.close(writing)


def test_state_into_a_pipe_that_is_full_is_refused(front: FrontEnd) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    reply = front.ask(Request.SET_DEVICE_STATE_FD, SAVE.to_bytes(4, "little") + bytes(4), [writing])
    assert reply.payload[0] == 1
    assert front.number(Request.CHECK_DEVICE_STATE)
    os.close(reading)
    os.close(writing)


def test_state_goes_into_no_file(datapath: Datapath, front: FrontEnd) -> None:
    before = datapath.descriptors
    with Path("/dev/null").open("rb") as nothing:
        front.send(Request.SET_DEVICE_STATE_FD, bytes(8), [nothing.fileno()])
        assert closes(front)
    assert datapath.descriptors < before


def test_state_is_not_moved_while_rings_run(plug: Plug) -> None:
    driver = plug(0)
    reading, writing = os.pipe()
    reply = driver.front.ask(Request.SET_DEVICE_STATE_FD, bytes(8), [writing])
    os.close(reading)
    os.close(writing)
    assert reply.payload[0] == 1
