"""Rings go on at the right place: after a stop, with another front end, and in another process."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from softdpu.spec import features as f
from softdpu.testkit.frames import BROADCAST, frame
from softdpu.testkit.memory import GuestMemory
from softdpu.testkit.vhost import FrontEnd
from softdpu.testkit.vhost_driver import FRESH_PACKED, VhostDriver
from tests.vhost.back_ends import Datapath
from tests.vhost.conftest import Plug

SPLIT = f.mask_of(f.VERSION_1, f.NET_MRG_RXBUF)
LAYOUTS = {
    "split": SPLIT,
    "split in order": SPLIT | f.mask_of(f.IN_ORDER),
    "packed": SPLIT | f.mask_of(f.RING_PACKED),
    "packed in order": SPLIT | f.mask_of(f.RING_PACKED, f.IN_ORDER),
}
MAC = (b"\2\0\0\0\0\1", b"\2\0\0\0\0\2")


def talk(one: VhostDriver, other: VhostDriver, count: int, life: int = 0) -> None:
    """Frames both ways, each of which must arrive once."""
    for n in range(count):
        there, back = (frame(BROADCAST, MAC[0], bytes([life, n]) * 50), frame(MAC[0], MAC[1], bytes([life, n]) * 100))
        one.send(there)
        other.send(back)
        assert (heard(other, life), heard(one, life)) == (there, back)


def heard(driver: VhostDriver, life: int) -> bytes:
    """The next frame, but for one that a process sent and did not live to say so: the next one sends it again."""
    found = driver.receive()
    return found if found[14] == life else driver.receive()


@pytest.mark.parametrize("wanted", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_stopped_ring_goes_on_where_it_stopped(plug: Plug, wanted: int) -> None:
    one, other = plug(0, wanted=wanted, queue_size=64), plug(1)
    for _ in range(3):
        talk(one, other, 30)
        one.resume(one.front, one.stop())
    talk(one, other, 30)


@pytest.mark.parametrize("wanted", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_another_front_end_goes_on_with_the_record(datapath: Datapath, plug: Plug, wanted: int) -> None:
    one, other = plug(0, wanted=wanted, queue_size=64), plug(1)
    one.stop()
    one.record = one.front.inflight(2, 64)
    one.resume(one.front)
    talk(one, other, 30)
    one.front.close()
    datapath.event("disconnected")
    with FrontEnd(datapath.folder / "vhost0") as front:
        front.negotiate()
        one.memory.map_into(front)
        one.resume(front, dict.fromkeys(one.rings, FRESH_PACKED if wanted >> f.RING_PACKED & 1 else 0))
        talk(one, other, 30)


@pytest.mark.parametrize("wanted", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_another_process_goes_on_with_the_record(tmp_path: Path, wanted: int) -> None:
    """The front end knows no more than where the rings began: the record says the rest."""
    begin = FRESH_PACKED if wanted >> f.RING_PACKED & 1 else 0
    with ExitStack() as stack:
        memory = [stack.enter_context(GuestMemory()) for _ in range(2)]
        drivers: list[VhostDriver] = []
        for life in range(3):
            folder = tmp_path / str(life)
            folder.mkdir()
            with Datapath(folder) as datapath, ExitStack() as connections:
                for number in range(2):
                    front = connections.enter_context(FrontEnd(datapath.serve(number)))
                    front.negotiate()
                    memory[number].map_into(front)
                    if life:
                        drivers[number].resume(front, dict.fromkeys(drivers[number].rings, begin))
                        continue
                    front.set_features(wanted)
                    record = front.inflight(2, 64)
                    driver = VhostDriver(front, memory[number], wanted=wanted, queue_size=64, record=record)
                    drivers.append(stack.enter_context(driver).start())
                one, other = drivers
                talk(one, other, 41, life)
                datapath.kill()
