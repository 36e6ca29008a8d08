"""Messages that are none: the errno says what; where nobody can know what follows, the connection ends."""

import errno
import os
import socket

import pytest

from softdpu.testkit import Client, Disconnected, GuestMemory, RequestFailed, wire
from softdpu.testkit.wire import Flag, Op, RegionIndex
from tests.dpu_under_test import Plugged

HEADER = wire.HEADER.size


def still_served(vmm: Client) -> bool:
    return vmm.read(RegionIndex.CONFIG, 0, 2) == b"\xf4\x1a"


def refused_for_good(vmm: Client, command: Op, message: int) -> bool:
    with pytest.raises(RequestFailed) as refused:
        vmm.reply_to(command, message)
    return refused.value.errno == errno.EINVAL and vmm.disconnected()


@pytest.mark.parametrize("size", [0, 1, HEADER - 1])
def test_size_below_the_header(vmm: Client, size: int) -> None:
    assert refused_for_good(vmm, Op.DEVICE_GET_INFO, vmm.send(Op.DEVICE_GET_INFO, size=size))


@pytest.mark.parametrize("size", [1 << 24, 1 << 31, 0xFFFFFFFF])
def test_size_beyond_any_message(vmm: Client, size: int) -> None:
    assert refused_for_good(vmm, Op.REGION_WRITE, vmm.send(Op.REGION_WRITE, size=size))


@pytest.mark.parametrize("flags", [Flag.REPLY, Flag.REPLY | Flag.ERROR, 2, 15])
def test_reply_that_nobody_asked_for(vmm: Client, flags: int) -> None:
    assert refused_for_good(vmm, Op.DMA_READ, vmm.send(Op.DMA_READ, bytes(16), flags=flags))


def test_what_wants_no_reply_gets_none_before_the_end(vmm: Client) -> None:
    vmm.send(Op.REGION_WRITE, size=1, flags=Flag.NO_REPLY)
    assert vmm.disconnected()


@pytest.mark.parametrize("command", [0, 14, 19, 0x7FFF, 0xFFFF])
def test_unknown_command(vmm: Client, command: int) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(command, bytes(32))
    assert refused.value.errno == errno.EINVAL
    assert still_served(vmm)


@pytest.mark.parametrize("command", [Op.DMA_READ, Op.DMA_WRITE])
def test_command_of_the_other_direction(vmm: Client, command: Op) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(command, bytes(16))
    assert refused.value.errno == errno.EINVAL


def test_command_that_is_not_offered(vmm: Client) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(Op.DEVICE_GET_REGION_IO_FDS, bytes(32))
    assert refused.value.errno == errno.EOPNOTSUPP
    assert still_served(vmm)


def test_unknown_command_without_reply_is_not_answered(vmm: Client) -> None:
    vmm.send(99, flags=Flag.NO_REPLY)
    assert still_served(vmm)


def test_message_id_is_echoed_whatever_it_is(vmm: Client) -> None:
    for identity in (0, 1, 0xFFFF, 7, 7):
        vmm.send(Op.DEVICE_GET_INFO, wire.DEVICE_INFO.pack(argsz=16), message_id=identity)
        assert vmm.receive().message_id == identity


def test_requests_sent_ahead_are_answered_in_order(vmm: Client) -> None:
    access = wire.REGION_ACCESS.pack(region=RegionIndex.CONFIG, count=4)
    sent = [vmm.send(Op.REGION_READ, access) for _ in range(100)]
    assert [vmm.receive().message_id for _ in sent] == sent


def test_message_byte_by_byte(vmm: Client) -> None:
    message = wire.HEADER.pack(message_id=5, command=Op.DEVICE_GET_INFO, size=HEADER + 16)
    for byte in message + wire.DEVICE_INFO.pack(argsz=16):
        vmm.send_bytes(bytes([byte]))
    assert vmm.receive().message_id == 5


@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize("length", [1, HEADER - 1, HEADER, HEADER + 5])
def test_disconnect_in_the_middle_of_a_message(device: Plugged, memory: GuestMemory, length: int) -> None:
    with Client(device.socket) as vmm:
        vmm.negotiate()
        message = wire.HEADER.pack(command=Op.DMA_MAP, size=HEADER + 32) + bytes(32)
        vmm.send_bytes(message[:length], [memory.fd])
    with Client(device.socket) as successor:
        successor.negotiate()
        assert still_served(successor)


@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize("count", [1, 16])
def test_descriptors_that_a_command_does_not_take(vmm: Client, memory: GuestMemory, count: int) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(Op.DEVICE_GET_INFO, wire.DEVICE_INFO.pack(argsz=16), [memory.fd] * count)
    assert refused.value.errno == errno.EINVAL
    assert still_served(vmm)


@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize("count", [17, 253])
def test_more_descriptors_than_a_message_may_have(vmm: Client, count: int) -> None:
    fds = [os.eventfd(0) for _ in range(count)]
    payload = wire.IRQ_SET.pack(argsz=20, flags=4 | 32, index=2, count=count)
    with pytest.raises((RequestFailed, Disconnected)):
        vmm.request(Op.DEVICE_SET_IRQS, payload, fds)
    for fd in fds:
        os.close(fd)


def test_replies_that_are_never_read_cost_the_connection(vmm: Client) -> None:
    access = wire.REGION_ACCESS.pack(region=RegionIndex.CONFIG, count=4096)
    message = wire.HEADER.pack(command=Op.REGION_READ, size=HEADER + len(access)) + access
    vmm.socket.settimeout(5)
    with pytest.raises((Disconnected, TimeoutError)):
        for _ in range(20000):
            vmm.send_bytes(message)


def test_stream_of_noise(device: Plugged) -> None:
    with Client(device.socket) as vmm:
        vmm.send_bytes(os.urandom(1 << 12))
        vmm.socket.shutdown(socket.SHUT_WR)
        while True:
            try:
                vmm.receive()
            except Disconnected:
                break
    with Client(device.socket) as successor:
        successor.negotiate()
        assert still_served(successor)
