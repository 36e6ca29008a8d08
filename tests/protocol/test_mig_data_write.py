"""VFIO_USER_MIG_DATA_WRITE: a device becomes the one whose state is written."""

import errno

import pytest

from softdpu.spec.vfio import State
from softdpu.testkit import Client, RequestFailed, wire
from softdpu.testkit.client import CAPABILITIES
from softdpu.testkit.wire import Op
from tests.dpu_under_test import Plugged

MOST = 65536
BEGINNING = b"LAST\0\1\0\0"  # of a record with 256 bytes


def write(data: bytes, size: int | None = None, argsz: int | None = None) -> bytes:
    size = len(data) if size is None else size
    return wire.MIG_DATA.pack(argsz=wire.MIG_DATA.size + size if argsz is None else argsz, size=size) + data


def refusal(vmm: Client, payload: bytes) -> int | None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(Op.MIG_DATA_WRITE, payload)
    return refused.value.errno


@pytest.fixture
def resuming(vmm: Client) -> Client:
    """A VMM whose device expects data."""
    vmm.migration_state = State.RESUMING
    return vmm


def test_the_reply_is_empty(resuming: Client) -> None:
    assert resuming.request(Op.MIG_DATA_WRITE, write(BEGINNING)).payload == b""


@pytest.mark.parametrize("state", sorted(set(State) - {State.ERROR, State.RESUMING}), ids=lambda state: state.name)
def test_elsewhere_nothing_is_written(vmm: Client, state: State) -> None:
    vmm.migration_state = state
    assert refusal(vmm, write(BEGINNING)) == errno.EINVAL


def test_nothing_written(resuming: Client) -> None:
    resuming.request(Op.MIG_DATA_WRITE, write(b""))
    resuming.migration_state = State.STOP


def test_more_than_version_allows(resuming: Client) -> None:
    assert refusal(resuming, write(bytes(MOST + 1))) == errno.EINVAL


def test_more_than_the_vmm_said_that_it_takes(device: Plugged) -> None:
    with Client(device.socket) as vmm:
        vmm.negotiate(capabilities={**CAPABILITIES, "max_data_xfer_size": 4})
        vmm.migration_state = State.RESUMING
        assert refusal(vmm, write(b"LAST\0")) == errno.EINVAL
        vmm.request(Op.MIG_DATA_WRITE, write(b"LAST"))


WRONG = {
    "less_than_promised": write(BEGINNING, size=9),
    "more_than_promised": write(BEGINNING, size=7),
    "no_data": write(b"", size=4),
    "argsz_too_small": write(BEGINNING, argsz=15),
    "no_argsz": write(BEGINNING, argsz=0),
    "short_heading": write(b"")[:-1],
    "no_heading": b"",
}


@pytest.mark.parametrize("payload", WRONG.values(), ids=WRONG.keys())
def test_wrong(resuming: Client, payload: bytes) -> None:
    assert refusal(resuming, payload) == errno.EINVAL
    resuming.migration_state = State.STOP  # nothing was written, so nothing is missing


@pytest.mark.parametrize("data", [b"LOST", b"X", b"LAST\xff\xff\xff\xff"])
def test_what_is_no_state_is_refused_at_once(resuming: Client, data: bytes) -> None:
    assert refusal(resuming, write(data)) == errno.EINVAL


def test_a_state_that_is_cut_off_is_refused_at_its_end(resuming: Client) -> None:
    resuming.request(Op.MIG_DATA_WRITE, write(BEGINNING))
    for state in (State.STOP, State.RUNNING, State.PRE_COPY):
        with pytest.raises(RequestFailed) as refused:
            resuming.migration_state = state
        assert refused.value.errno == errno.EINVAL
        assert resuming.migration_state == State.RESUMING
    resuming.reset()
    assert resuming.migration_state == State.RUNNING
