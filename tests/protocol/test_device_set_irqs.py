"""VFIO_USER_DEVICE_SET_IRQS: where interrupts go."""

import errno
import os
from collections.abc import Iterator

import pytest

from softdpu.testkit import Client, Interrupts, PciFunction, RequestFailed, wire
from softdpu.testkit.wire import Irq, IrqSet, Op
from tests.dpu_under_test import Dpu

NONE, BOOL, EVENTFD = IrqSet.DATA_NONE, IrqSet.DATA_BOOL, IrqSet.DATA_EVENTFD
MASK, UNMASK, TRIGGER = IrqSet.MASK, IrqSet.UNMASK, IrqSet.TRIGGER


@pytest.fixture
def msix(vmm: Client) -> Iterator[Interrupts]:
    """An eventfd for each vector."""
    interrupts = Interrupts(vmm, Irq.MSIX, PciFunction(vmm).vectors)
    yield interrupts
    interrupts.close()


def message(flags: int, index: int = Irq.MSIX, start: int = 0, count: int = 1, booleans: bytes = b"") -> bytes:
    argsz = wire.IRQ_SET.size + len(booleans)
    return wire.IRQ_SET.pack(argsz=argsz, flags=flags, index=index, start=start, count=count) + booleans


def refusal(vmm: Client, payload: bytes, *fds: int) -> int | None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(Op.DEVICE_SET_IRQS, payload, fds)
    return refused.value.errno


def test_trigger_writes_the_eventfd(vmm: Client, msix: Interrupts) -> None:
    vmm.set_irqs(Irq.MSIX, NONE | TRIGGER, start=1, count=1)
    assert [msix.fired(vector) for vector in range(3)] == [0, 1, 0]


def test_booleans_choose_what_is_triggered(vmm: Client, msix: Interrupts) -> None:
    vmm.set_irqs(Irq.MSIX, BOOL | TRIGGER, start=0, count=3, booleans=b"\1\0\1")
    assert [msix.fired(vector) for vector in range(3)] == [1, 0, 1]


def test_nothing_fires_after_all_were_disabled(vmm: Client, msix: Interrupts) -> None:
    vmm.disable_irqs(Irq.MSIX)
    vmm.set_irqs(Irq.MSIX, NONE | TRIGGER, start=1, count=1)
    assert msix.fired(1) == 0


def test_eventfd_without_descriptors_takes_them_away(vmm: Client, msix: Interrupts) -> None:
    vmm.set_irqs(Irq.MSIX, EVENTFD | TRIGGER, start=1, count=1)
    vmm.set_irqs(Irq.MSIX, NONE | TRIGGER, start=0, count=3)
    assert [msix.fired(vector) for vector in range(3)] == [1, 0, 1]


def test_new_eventfd_replaces_the_old_one(vmm: Client, msix: Interrupts) -> None:
    other = Interrupts(vmm, Irq.MSIX, 1)
    vmm.set_irqs(Irq.MSIX, NONE | TRIGGER, start=0, count=1)
    assert (msix.fired(0), other.fired(0)) == (0, 1)
    other.close()


@pytest.mark.usefixtures("no_leak")
def test_replaced_and_disabled_eventfds_are_closed(dpu: Dpu, vmm: Client) -> None:
    before = dpu.fds()
    for _ in range(20):
        Interrupts(vmm, Irq.MSIX, 4).close()
    assert dpu.fds() == before + 4
    vmm.disable_irqs(Irq.MSIX)
    assert dpu.fds() == before


@pytest.mark.parametrize("index", [Irq.ERR, Irq.REQ])
def test_error_and_request_eventfds_are_accepted(vmm: Client, index: Irq) -> None:
    interrupts = Interrupts(vmm, index, 1)
    assert interrupts.fired() == 0
    interrupts.close()


def test_intx_is_masked_and_unmasked(vmm: Client) -> None:
    interrupts = Interrupts(vmm, Irq.INTX, 1)
    vmm.set_irqs(Irq.INTX, NONE | MASK, start=0, count=1)
    vmm.unmask_irq(Irq.INTX)
    assert interrupts.fired() == 0, "no ISR bit is set"
    interrupts.close()


WRONG = {
    "no_such_index": message(NONE | TRIGGER, index=5),
    "msi_which_is_not_there": message(NONE | TRIGGER, index=Irq.MSI),
    "start_beyond_the_last": message(NONE | TRIGGER, start=2048),
    "count_beyond_the_last": message(NONE | TRIGGER, count=2049),
    "count_that_wraps": message(NONE | TRIGGER, start=0xFFFFFFFF, count=0xFFFFFFFF),
    "no_action": message(NONE),
    "two_actions": message(NONE | MASK | TRIGGER),
    "no_data_type": message(TRIGGER),
    "two_data_types": message(NONE | BOOL | TRIGGER, booleans=b"\1"),
    "unknown_flag": message(NONE | TRIGGER | 64),
    "nothing_masked": message(NONE | MASK, count=0),
    "booleans_missing": message(BOOL | TRIGGER, count=2, booleans=b"\1"),
    "booleans_too_many": message(BOOL | TRIGGER, count=1, booleans=b"\1\1"),
    "error_masked": message(NONE | MASK, index=Irq.ERR),
    "argsz_too_small": wire.IRQ_SET.pack(argsz=19, flags=NONE | TRIGGER, index=Irq.MSIX, count=1),
    "short_body": message(NONE | TRIGGER)[:-1],
    "no_body": b"",
}


@pytest.mark.parametrize("payload", WRONG.values(), ids=WRONG.keys())
def test_wrong(vmm: Client, payload: bytes) -> None:
    assert refusal(vmm, payload) == errno.EINVAL


@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize(("count", "given"), [(1, 2), (2, 1), (3, 2)])
def test_descriptors_do_not_match_the_count(vmm: Client, count: int, given: int) -> None:
    fds = [os.eventfd(0) for _ in range(given)]
    assert refusal(vmm, message(EVENTFD | TRIGGER, count=count), *fds) == errno.EINVAL
    for fd in fds:
        os.close(fd)


@pytest.mark.usefixtures("no_leak")
def test_descriptor_that_is_no_eventfd(vmm: Client) -> None:
    """A pipe that nobody reads would make the device wait."""
    reader, writer = os.pipe()
    assert refusal(vmm, message(EVENTFD | TRIGGER), writer) == errno.EINVAL
    os.close(reader)
    os.close(writer)


@pytest.mark.usefixtures("no_leak")
def test_descriptors_with_no_data(vmm: Client) -> None:
    fd = os.eventfd(0)
    assert refusal(vmm, message(NONE | TRIGGER), fd) == errno.EINVAL
    os.close(fd)


def test_full_eventfd_does_not_stop_the_device(vmm: Client) -> None:
    fd = os.eventfd(0, os.EFD_CLOEXEC)
    os.eventfd_write(fd, 0xFFFFFFFFFFFFFFFE)
    vmm.assign_irqs(Irq.MSIX, [fd])
    vmm.set_irqs(Irq.MSIX, NONE | TRIGGER, start=0, count=1)
    assert vmm.device_info()
    os.close(fd)
