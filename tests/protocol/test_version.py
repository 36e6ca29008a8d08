"""VFIO_USER_VERSION: the first message of a connection."""

import errno
import json

import pytest

from softdpu.testkit import Client, RequestFailed, wire
from softdpu.testkit.wire import Op
from tests.dpu_under_test import Plugged


def propose(device: Plugged, tail: bytes, major: int = 0, minor: int = 1) -> bytes:
    """What is answered to a version with these bytes after it."""
    with Client(device.socket) as vmm:
        return vmm.request(Op.VERSION, wire.VERSION.pack(major=major, minor=minor) + tail).payload


def test_reply_has_limits_as_json_ended_by_nul(device: Plugged) -> None:
    reply = propose(device, b'{"capabilities":{}}\0')
    assert reply[-1:] == b"\0"
    limits = json.loads(reply[4:-1])["capabilities"]
    assert limits["max_msg_fds"] >= 8
    assert limits["max_data_xfer_size"] >= 4096
    assert limits["pgsizes"] == 4096


@pytest.mark.parametrize("minor", [0, 1, 2, 65535])
def test_minor_is_never_above_the_proposed_one(device: Plugged, minor: int) -> None:
    version = wire.VERSION.unpack(propose(device, b"", minor=minor))
    assert version["major"] == 0
    assert version["minor"] <= minor


@pytest.mark.parametrize(
    "tail", [b"", b"{}\0", b'{"capabilities":{}}\0', b'{"unheard":[1],"capabilities":{"of":{}}}\0']
)
def test_what_need_not_be_there_need_not_be_there(device: Plugged, tail: bytes) -> None:
    assert propose(device, tail)


def test_write_multiple_is_agreed_to_only_when_proposed(device: Plugged) -> None:
    with_it = propose(device, b'{"capabilities":{"write_multiple":true}}\0')
    without = propose(device, b"{}\0")
    assert b"write_multiple" in with_it
    assert b"write_multiple" not in without


def test_migration_is_spoken_of_only_to_those_who_speak_of_it(device: Plugged) -> None:
    spoken = propose(device, b'{"capabilities":{"migration":{"pgsize":4096,"max_bitmap_size":268435456}}}\0')
    assert json.loads(spoken[4:-1])["capabilities"]["migration"] == {"pgsize": 4096, "max_bitmap_size": 2 << 20}
    assert b"migration" not in propose(device, b"{}\0")
    assert b"migration" in propose(device, b""), "without any JSON the defaults hold"


@pytest.mark.parametrize("size", ["4095", "0", '"4096"'])
def test_page_sizes_that_are_none(device: Plugged, size: str) -> None:
    with pytest.raises(RequestFailed) as refused:
        propose(device, b'{"capabilities":{"migration":{"pgsize":%s}}}\0' % size.encode())
    assert refused.value.errno == errno.EINVAL


def test_twin_socket_is_not_claimed(device: Plugged) -> None:
    assert b"twin_socket" not in propose(device, b'{"capabilities":{"twin_socket":{"supported":true}}}\0')


NONSENSE = [b"{}", b"{\0", b'"\0', b"\0", b"[]\0", b"\xff\xfe\0", b'{"capabilities":"23"}\0', b"[" * 30000 + b"\0"]


@pytest.mark.parametrize("tail", NONSENSE, ids=[repr(tail[:24]) for tail in NONSENSE])
def test_bad_json(device: Plugged, tail: bytes) -> None:
    with pytest.raises(RequestFailed) as refused:
        propose(device, tail)
    assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize("value", ['"max_msg_fds":"8"', '"max_msg_fds":-1', '"pgsizes":[]', '"max_dma_maps":1.5'])
def test_capability_of_the_wrong_type(device: Plugged, value: str) -> None:
    with pytest.raises(RequestFailed) as refused:
        propose(device, b'{"capabilities":{%s}}\0' % value.encode())
    assert refused.value.errno == errno.EINVAL


def test_other_major(device: Plugged) -> None:
    with pytest.raises(RequestFailed) as refused:
        propose(device, b"{}\0", major=1)
    assert refused.value.errno == errno.EINVAL


def test_body_shorter_than_a_version(device: Plugged) -> None:
    with Client(device.socket) as vmm, pytest.raises(RequestFailed) as refused:
        vmm.request(Op.VERSION, b"\0\0\1")
    assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize("command", [Op.DMA_MAP, Op.DEVICE_GET_INFO, Op.REGION_READ, Op.DEVICE_RESET])
def test_anything_before_version(device: Plugged, command: Op) -> None:
    with Client(device.socket) as vmm:
        message = vmm.send(command, wire.REGION_ACCESS.pack(region=7, count=4))
        with pytest.raises(RequestFailed) as refused:
            vmm.reply_to(command, message)
    assert refused.value.errno == errno.EINVAL


def test_version_twice(vmm: Client) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.negotiate()
    assert refused.value.errno == errno.EINVAL
