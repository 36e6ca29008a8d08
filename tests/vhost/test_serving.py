"""How a function is served: who connects to whom, what the controller hears, drivers without the usual eventfds."""

import socket

import pytest

from softdpu.net.backend import PROTOCOL_FEATURES
from softdpu.testkit import vhost_wire as wire
from softdpu.testkit.frames import BROADCAST, frame
from softdpu.testkit.link import RequestFailed
from softdpu.testkit.memory import GuestMemory
from softdpu.testkit.vhost import FrontEnd
from softdpu.testkit.vhost_driver import VhostDriver
from softdpu.testkit.vhost_wire import Request
from tests.vhost.back_ends import Datapath
from tests.vhost.conftest import Plug


def test_everything_that_the_description_has_is_offered(datapath: Datapath) -> None:
    with FrontEnd(datapath.serve(0)) as front:
        offered = front.number(Request.GET_FEATURES)
        assert offered == datapath.functions[0].device_features | 1 << wire.LOG_ALL | 1 << wire.PROTOCOL_FEATURES
        assert front.number(Request.GET_PROTOCOL_FEATURES) == PROTOCOL_FEATURES


def test_an_mtu_beyond_the_ports_is_refused(datapath: Datapath) -> None:
    with FrontEnd(datapath.serve(0)) as front:
        front.negotiate(wire.Protocol.REPLY_ACK | wire.Protocol.MTU)
        front.set_number(Request.NET_SET_MTU, 1400)
        for mtu in (1501, 67, 1 << 40):
            with pytest.raises(RequestFailed):
                front.set_number(Request.NET_SET_MTU, mtu)
        datapath.update(0)
        assert datapath.agreements[0].mtu == 1400


def test_the_controller_is_told_how_far_things_are(datapath: Datapath, plug: Plug) -> None:
    driver = plug(0)
    datapath.update(0)
    view = datapath.functions[0]
    assert (view.status, view.transitional_mode, view.enabled_queues) == (15, "modern", 2)
    assert view.queues[0].descriptor == driver.rings[0].descriptor
    driver.front.close()
    datapath.event("disconnected")
    datapath.update(0)
    assert (view.status, view.enabled_queues) == (0, 0)


def test_a_connection_that_the_controller_made_is_served(datapath: Datapath) -> None:
    datapath.serve(0, client=True)
    ours, theirs = socket.socketpair()
    with FrontEnd(ours) as front, theirs:
        assert not datapath.connect(0, theirs).errno
        theirs.close()
        front.negotiate()
        front.settle()
        second, unwanted = socket.socketpair()
        with second, unwanted:
            assert "another is connected" in datapath.connect(0, unwanted).reason
        front.settle()
    datapath.event("disconnected")
    ours, theirs = socket.socketpair()
    with FrontEnd(ours) as successor, theirs:
        assert not datapath.connect(0, theirs).errno
        successor.negotiate()


def test_a_moved_guest_is_announced_in_its_name(plug: Plug) -> None:
    one, other = plug(0, protocol=wire.Protocol.RARP | wire.Protocol.REPLY_ACK), plug(1)
    one.front.set_number(Request.SEND_RARP, int.from_bytes(b"\2\0\0\0\0\1", "little"))
    heard = other.receive()
    assert (heard[:6], heard[6:12], heard[12:14]) == (BROADCAST, b"\2\0\0\0\0\1", b"\x80\x35")


def test_a_driver_that_neither_kicks_nor_is_called_is_polled(plug: Plug, datapath: Datapath) -> None:
    one, other = plug(0, interrupts=False), plug(1)
    for index in one.rings:
        one.front.set_vring_fd(Request.SET_VRING_KICK, index, None)
    one.notify = lambda queue: None  # type: ignore[method-assign]
    sent = frame(BROADCAST, b"\2\0\0\0\0\1", b"unheard")
    one.send(sent)
    assert other.receive() == sent
    back = frame(b"\2\0\0\0\0\1", b"\2\0\0\0\0\2", b"there")
    other.send(back)
    assert one.receive() == back


def test_without_protocol_features_rings_are_enabled(datapath: Datapath, plug: Plug) -> None:
    other = plug(1)
    with FrontEnd(datapath.serve(0)) as front, GuestMemory() as memory:
        front.number(Request.GET_FEATURES)
        front.features = datapath.functions[0].device_features
        memory.map_into(front)
        with VhostDriver(front, memory).start() as one:
            sent = frame(BROADCAST, b"\2\0\0\0\0\1", b"old")
            one.send(sent)
            assert other.receive() == sent
