"""VFIO_USER_MIG_DATA_READ: the state of a device, for another to become it."""

import errno

import pytest

from softdpu.spec.vfio import SAVING, State
from softdpu.testkit import Client, RequestFailed, wire
from softdpu.testkit.client import CAPABILITIES
from softdpu.testkit.wire import Op
from tests.dpu_under_test import Plugged

MOST = 65536


def refusal(vmm: Client, payload: bytes) -> int | None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(Op.MIG_DATA_READ, payload)
    return refused.value.errno


def asked(size: int, argsz: int | None = None) -> bytes:
    return wire.MIG_DATA.pack(argsz=wire.MIG_DATA.size + size if argsz is None else argsz, size=size)


@pytest.mark.parametrize("state", sorted(SAVING), ids=lambda state: state.name)
def test_there_is_something_to_read(vmm: Client, state: State) -> None:
    vmm.migration_state = state
    reply = vmm.request(Op.MIG_DATA_READ, asked(100)).payload
    assert wire.MIG_DATA.unpack(reply) == {"argsz": len(reply), "size": 100}
    assert len(reply) == wire.MIG_DATA.size + 100


@pytest.mark.parametrize("state", sorted(set(State) - SAVING - {State.ERROR}), ids=lambda state: state.name)
def test_there_is_nothing_to_read(vmm: Client, state: State) -> None:
    vmm.migration_state = state
    assert refusal(vmm, asked(100)) == errno.EINVAL


@pytest.mark.parametrize("state", sorted(SAVING), ids=lambda state: state.name)
def test_the_end_is_a_short_answer_and_then_empty_ones(vmm: Client, state: State) -> None:
    vmm.migration_state = state
    assert 0 < len(vmm.migration_read()) < MOST
    assert vmm.migration_read() == vmm.migration_read(1) == b""


def test_more_comes_when_the_device_has_stopped(vmm: Client) -> None:
    vmm.migration_state = State.PRE_COPY
    assert vmm.migration_read_all()
    vmm.migration_state = State.STOP_COPY
    assert vmm.migration_read_all()


def test_what_was_not_read_before_it_stopped_comes_first(vmm: Client) -> None:
    vmm.migration_state = State.PRE_COPY
    first = vmm.migration_read(10)
    vmm.migration_state = State.STOP_COPY
    assert (first + vmm.migration_read_all()).startswith(b"PREV")


def test_nothing_asked_for(vmm: Client) -> None:
    vmm.migration_state = State.STOP_COPY
    assert vmm.migration_read(0) == b""


def test_as_much_as_version_allows_and_no_more(vmm: Client) -> None:
    vmm.migration_state = State.STOP_COPY
    assert refusal(vmm, asked(MOST + 1)) == errno.EINVAL
    assert refusal(vmm, asked(0xFFFFFFFF, argsz=0xFFFFFFFF)) == errno.EINVAL
    assert vmm.request(Op.MIG_DATA_READ, asked(MOST)).payload


def test_as_much_as_the_vmm_takes_and_no_more(device: Plugged) -> None:
    with Client(device.socket) as vmm:
        vmm.negotiate(capabilities={**CAPABILITIES, "max_data_xfer_size": 4})
        vmm.migration_state = State.STOP_COPY
        assert refusal(vmm, asked(5)) == errno.EINVAL
        assert len(vmm.migration_read(4)) == 4


@pytest.mark.parametrize(
    "payload", [asked(4)[:-1], b"", asked(4, argsz=11), asked(4, argsz=0)], ids=["short", "empty", "small", "none"]
)
def test_wrong(vmm: Client, payload: bytes) -> None:
    vmm.migration_state = State.STOP_COPY
    assert refusal(vmm, payload) == errno.EINVAL
    assert vmm.migration_read_all().startswith(b"LAST"), "nothing was taken"
