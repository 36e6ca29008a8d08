"""GET_CONFIG, SET_CONFIG, back-end requests, NET_SET_MTU, features: what the function is, and who hears of a change."""

import socket

import pytest

from softdpu.spec import features as f
from softdpu.spec import virtio_net as net
from softdpu.testkit import FrontEnd, GuestMemory, RequestFailed
from softdpu.testkit import vhost_wire as wire
from softdpu.testkit.vhost import USUAL
from softdpu.testkit.vhost_wire import BackEndRequest, Protocol, Request
from softdpu.virtio.effects import SetDeviceConfig
from tests.vhost.back_ends import Datapath
from tests.vhost.breaking import closes

MAC = bytes.fromhex("020000000001")


def test_configuration_is_the_devices(front: FrontEnd) -> None:
    assert front.config(0, 6) == MAC
    pairs = net.CONFIG.named["max_virtqueue_pairs"]
    assert int.from_bytes(front.config(pairs.offset, pairs.size), "little") == 2


def test_zeros_follow_what_there_is(front: FrontEnd) -> None:
    assert front.config(net.CONFIG_BYTES, 200) == bytes(200)


@pytest.mark.parametrize(("offset", "size"), [(0, 257), (256, 1), (250, 100)])
def test_configuration_out_of_range_is_answered_by_none(front: FrontEnd, offset: int, size: int) -> None:
    with pytest.raises(RequestFailed):
        front.config(offset, size)
    assert front.config(0, 6) == MAC


def test_offset_that_no_configuration_has(front: FrontEnd) -> None:
    front.send(Request.GET_CONFIG, wire.CONFIG.pack(offset=0xFFFFFFFF, size=1) + b"\0")
    assert closes(front)


def test_request_whose_size_lies(front: FrontEnd) -> None:
    reply = front.ask(Request.GET_CONFIG, wire.CONFIG.pack(offset=0, size=6) + bytes(5))
    assert reply.payload == wire.CONFIG.pack(offset=0, size=0)


def test_mac_can_be_written_and_nothing_else(front: FrontEnd) -> None:
    front.set_config(0, bytes.fromhex("0200000000ee"))
    assert front.config(0, 6) == bytes.fromhex("0200000000ee")
    with pytest.raises(RequestFailed):
        front.set_config(6, b"\0\0")


def test_change_is_told_on_the_channel(datapath: Datapath, front: FrontEnd) -> None:
    with front.listen() as channel:
        datapath.update(0, SetDeviceConfig(b"\x02" * 20))
        assert channel.receive().request == BackEndRequest.CONFIG_CHANGE_MSG
    assert front.config(0, 20) == b"\x02" * 20


def test_channel_that_nobody_reads_holds_nobody_up(datapath: Datapath, front: FrontEnd) -> None:
    with front.listen():
        for number in range(2000):
            datapath.update(0, SetDeviceConfig(bytes([number & 0xFF]) * 20))
        front.settle()


def test_channel_that_was_closed(datapath: Datapath, front: FrontEnd) -> None:
    front.listen().close()
    for _ in range(3):
        datapath.update(0, SetDeviceConfig(bytes(20)))
    front.settle()


def test_channel_that_is_no_socket(datapath: Datapath, front: FrontEnd) -> None:
    before = datapath.descriptors
    with GuestMemory(4096) as memory:
        front.send(Request.SET_BACKEND_REQ_FD, fds=[memory.fd])
        assert closes(front)
    assert datapath.descriptors == before - 1


def test_its_own_end_of_the_connection_as_the_channel(datapath: Datapath, front: FrontEnd) -> None:
    """It keeps its own function busy; nobody else notices."""
    front.command(Request.SET_BACKEND_REQ_FD, fds=[front.socket.fileno()])
    with FrontEnd(datapath.serve(1)) as other:
        other.negotiate()
    front.close()
    datapath.destroy(0)


@pytest.mark.parametrize("bit", [41, 51, 60, 14, 36])
def test_feature_that_was_not_offered(front: FrontEnd, bit: int) -> None:
    assert not front.features >> bit & 1
    front.send(Request.SET_FEATURES, wire.NUMBER.pack(value=1 << bit | f.mask_of(f.VERSION_1)))
    assert closes(front)


@pytest.mark.parametrize("bit", [10, 14, 17, 20, 63])
def test_protocol_feature_that_was_not_offered(front: FrontEnd, bit: int) -> None:
    front.send(Request.SET_PROTOCOL_FEATURES, wire.NUMBER.pack(value=1 << bit))
    assert closes(front)


NEEDS = {
    Request.GET_QUEUE_NUM: Protocol.MQ,
    Request.GET_CONFIG: Protocol.CONFIG,
    Request.SET_CONFIG: Protocol.CONFIG,
    Request.RESET_DEVICE: Protocol.RESET_DEVICE,
    Request.GET_MAX_MEM_SLOTS: Protocol.CONFIGURE_MEM_SLOTS,
    Request.ADD_MEM_REG: Protocol.CONFIGURE_MEM_SLOTS,
    Request.REM_MEM_REG: Protocol.CONFIGURE_MEM_SLOTS,
    Request.GET_STATUS: Protocol.STATUS,
    Request.SET_STATUS: Protocol.STATUS,
    Request.NET_SET_MTU: Protocol.MTU,
    Request.SEND_RARP: Protocol.RARP,
}


@pytest.mark.parametrize(("request_", "needed"), NEEDS.items(), ids=[one.name for one in NEEDS])
def test_request_whose_protocol_feature_is_not_in_force(
    datapath: Datapath, request_: Request, needed: Protocol
) -> None:
    with FrontEnd(datapath.serve(0)) as front:
        front.negotiate(USUAL & ~needed & ~Protocol.MTU & ~Protocol.RARP)
        front.send(request_, bytes(8))
        assert closes(front)


@pytest.mark.parametrize("mtu", [0, 67, 65536, 1 << 40])
def test_mtu_that_cannot_be(datapath: Datapath, mtu: int) -> None:
    with FrontEnd(datapath.serve(0)) as front:
        front.negotiate(USUAL | Protocol.MTU)
        with pytest.raises(RequestFailed):
            front.set_number(Request.NET_SET_MTU, mtu)
        front.settle()


def test_channel_is_closed_with_the_connection(datapath: Datapath, front: FrontEnd) -> None:
    before = datapath.descriptors
    ours, theirs = socket.socketpair()
    front.command(Request.SET_BACKEND_REQ_FD, fds=[theirs.fileno()])
    theirs.close()
    front.close()
    assert ours.recv(1) == b"", "the other end was closed by the back end"
    datapath.event("disconnected")
    assert datapath.descriptors == before - 1
