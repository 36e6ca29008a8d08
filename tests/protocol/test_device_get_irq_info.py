"""VFIO_USER_DEVICE_GET_IRQ_INFO."""

import errno

import pytest

from softdpu.testkit import Client, PciFunction, RequestFailed, wire
from softdpu.testkit.wire import Irq, IrqFlag, Op


def test_intx_is_one_line_that_masks_itself(vmm: Client) -> None:
    info = vmm.irq_info(Irq.INTX)
    assert info["count"] == 1
    assert info["flags"] == IrqFlag.EVENTFD | IrqFlag.MASKABLE | IrqFlag.AUTOMASKED


def test_msix_has_the_vectors_of_its_capability(vmm: Client) -> None:
    info = vmm.irq_info(Irq.MSIX)
    assert info["count"] == PciFunction(vmm).vectors > 0
    assert info["flags"] & IrqFlag.EVENTFD


def test_there_is_no_msi(vmm: Client) -> None:
    assert vmm.irq_info(Irq.MSI)["count"] == 0


@pytest.mark.parametrize("index", [Irq.ERR, Irq.REQ])
def test_error_and_request_are_one_line_each(vmm: Client, index: Irq) -> None:
    assert vmm.irq_info(index)["count"] == 1


@pytest.mark.parametrize("index", [5, 0xFFFFFFFF])
def test_unknown_index(vmm: Client, index: int) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.irq_info(index)
    assert refused.value.errno == errno.EINVAL


def test_less_room_than_needed(vmm: Client) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.irq_info(Irq.INTX, argsz=15)
    assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize("length", [0, 15])
def test_short_body(vmm: Client, length: int) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(Op.DEVICE_GET_IRQ_INFO, wire.IRQ_INFO.pack(argsz=16)[:length])
    assert refused.value.errno == errno.EINVAL
