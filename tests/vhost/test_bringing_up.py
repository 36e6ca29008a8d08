"""The order of messages: what may come twice, early or never, and a front end that goes at any point."""

import os
from collections.abc import Callable
from typing import TypeAlias

import pytest

from softdpu.spec import features as f
from softdpu.testkit import FrontEnd
from softdpu.testkit.frames import BROADCAST, frame
from softdpu.testkit.memory import GuestMemory
from softdpu.testkit.vhost_driver import VhostDriver
from softdpu.testkit.vhost_wire import Request
from tests.vhost.back_ends import Datapath
from tests.vhost.breaking import closes
from tests.vhost.conftest import Plug

Step: TypeAlias = Callable[[FrontEnd], object]
MAC = b"\2\0\0\0\0\1"


def driven(front: FrontEnd, memory: GuestMemory, other: VhostDriver) -> None:
    """The whole of it works."""
    with VhostDriver(front, memory).start() as driver:
        sent = frame(BROADCAST, MAC, b"well")
        driver.send(sent)
        assert other.receive() == sent


def test_owner_twice(front: FrontEnd) -> None:
    front.command(Request.SET_OWNER)
    front.command(Request.SET_OWNER)


def test_owner_never(datapath: Datapath, plug: Plug) -> None:
    other = plug(1)
    with FrontEnd(datapath.serve(0)) as front, GuestMemory() as memory:
        front.features = front.number(Request.GET_FEATURES)
        front.set_protocol(front.number(Request.GET_PROTOCOL_FEATURES))
        memory.map_into(front)
        driven(front, memory, other)


def test_features_three_times(plug: Plug, datapath: Datapath) -> None:
    other = plug(1)
    with FrontEnd(datapath.serve(0)) as front, GuestMemory() as memory:
        front.negotiate()
        for bits in (0, f.mask_of(f.VERSION_1, f.RING_PACKED), f.mask_of(f.VERSION_1)):
            front.set_features(bits)
        memory.map_into(front)
        driven(front, memory, other)


def test_rings_before_features_and_memory(datapath: Datapath, plug: Plug) -> None:
    """They wait for the memory; without features they are a legacy driver's."""
    other = plug(1)
    with FrontEnd(datapath.serve(0)) as front, GuestMemory() as memory:
        front.negotiate()
        driver = VhostDriver(front, memory, wanted=0)
        for index in range(2):
            ring = driver.rings[index] = driver.make_ring(64)
            driver.tell_queue(index, ring, 0)
            driver.enable(index)
        memory.map_into(front)
        driver.fill()
        sent = frame(BROADCAST, MAC, b"early")
        driver.send(sent)
        assert other.receive() == sent
        driver.close()


def test_memory_that_no_machine_has(datapath: Datapath, front: FrontEnd, plug: Plug) -> None:
    """A file can be as long as it likes; what it holds is not counted before it is touched."""
    huge = os.memfd_create("huge")
    os.ftruncate(huge, 1 << 46)
    front.dma_map(huge, 0, 1 << 46)
    front.dma_unmap(0, 1 << 46)
    os.close(huge)
    plug(1)


def steps(memory: GuestMemory, kick: int, call: int) -> list[Step]:
    """All that a bring-up has, message by message."""
    return [
        lambda front: front.send(Request.GET_FEATURES),
        lambda front: front.negotiate(),
        lambda front: front.set_features(1 << f.VERSION_1),
        lambda front: front.send(Request.GET_QUEUE_NUM),
        lambda front: front.receive(),
        lambda front: front.listen().close(),
        memory.map_into,
        lambda front: setattr(front, "status", 3),
        lambda front: front.set_vring(Request.SET_VRING_NUM, 0, 64),
        lambda front: front.set_vring(Request.SET_VRING_BASE, 0, 0),
        lambda front: front.set_vring_addresses(0, *(memory.base + n * 0x1000 for n in (1, 2, 3))),
        lambda front: front.set_vring_fd(Request.SET_VRING_CALL, 0, call),
        lambda front: front.set_vring_fd(Request.SET_VRING_KICK, 0, kick),
        lambda front: front.set_vring(Request.SET_VRING_ENABLE, 0, 1),
        lambda front: front.send(Request.GET_VRING_BASE, b""),
    ]


def test_gone_at_any_point_leaves_nothing(datapath: Datapath, plug: Plug) -> None:
    other, path = plug(1), datapath.serve(0)
    before = datapath.descriptors
    kick, call = os.eventfd(0), os.eventfd(0)
    with GuestMemory() as memory:
        for count in range(1, 16):
            with FrontEnd(path) as front:
                for step in steps(memory, kick, call)[1 if count > 1 else 0 : count]:
                    step(front)
            datapath.event("disconnected")
            assert datapath.descriptors == before, f"after {count} messages"
        with FrontEnd(path) as front:
            front.negotiate()
            memory.map_into(front)
            driven(front, memory, other)
    os.close(kick)
    os.close(call)


@pytest.mark.parametrize("request_", [Request.SET_FEATURES, Request.SET_VRING_NUM, Request.SET_MEM_TABLE])
def test_nothing_negotiated_and_a_message_cut_short(datapath: Datapath, plug: Plug, request_: Request) -> None:
    other = plug(1)
    with FrontEnd(datapath.serve(0)) as front:
        front.send(request_, b"\1\0")
        assert closes(front)
    assert other.front.number(Request.GET_FEATURES)
