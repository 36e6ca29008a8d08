"""What Linux's virtio_vfio_pci emulates, register by register."""

import errno

import pytest

from softdpu.host.simulated.virtio_vfio_pci import Command, Emulated, Notify
from softdpu.spec import pci

VF = bytes.fromhex("ffffffff") + bytes.fromhex("06001000") + bytes.fromhex("01000002") + bytes(52)


@pytest.fixture
def vf() -> Emulated:
    """One whose VM has enabled I/O space."""
    vf = Emulated()
    vf.write_config(4, (pci.COMMAND_IO | pci.COMMAND_MASTER).to_bytes(2, "little"))
    return vf


def test_the_ids_are_those_of_a_transitional_network_card(vf: Emulated) -> None:
    shown = vf.read_config(0, VF)
    assert shown[2:4] == bytes.fromhex("0010")
    assert shown[8] == 0
    assert shown[0x2C:0x30] == bytes.fromhex("f41a0100")


@pytest.mark.parametrize("size", [1, 2, 4])
def test_parts_of_registers_are_read_as_parts_of_the_whole(vf: Emulated, size: int) -> None:
    whole = vf.read_config(0, VF)
    assert b"".join(vf.read_config(at, VF[at : at + size]) for at in range(0, 64, size)) == whole


def test_io_space_enable_is_shown_although_the_vf_has_none(vf: Emulated) -> None:
    assert vf.read_config(4, VF[4:6])[0] == 0x07
    vf.reset()
    assert vf.read_config(4, VF[4:6])[0] == 0x06


def test_bar_0_is_sized_as_32_io_ports(vf: Emulated) -> None:
    vf.write_config(0x10, bytes.fromhex("ffffffff"))
    assert vf.read_config(0x10, VF[0x10:0x14]) == bytes.fromhex("e1ffffff")
    vf.write_config(0x10, bytes.fromhex("00c00000"))
    assert vf.read_config(0x10, VF[0x10:0x14]) == bytes.fromhex("01c00000")


@pytest.mark.parametrize(
    ("msix", "offset", "becomes"),
    [
        (False, 0x00, Command(False, 0x00)),
        (False, 0x12, Command(False, 0x12)),
        (False, 0x14, Command(True, 0)),
        (True, 0x14, Command(False, 0x14)),
        (True, 0x18, Command(True, 0)),
        (True, 0x1E, Command(True, 6)),
    ],
)
def test_an_access_becomes_a_command_of_the_area_that_it_is_in(
    vf: Emulated, msix: bool, offset: int, becomes: Command
) -> None:
    vf.msix = msix
    assert vf.access(offset, 1) == becomes


def test_queue_notify_is_no_command(vf: Emulated) -> None:
    assert vf.access(0x10, 2) == Notify()


@pytest.mark.parametrize(("offset", "size"), [(0x10, 1), (0x10, 4), (0x1F, 2), (0x20, 1), (0, 0)])
def test_accesses_that_cannot_be_are_invalid(vf: Emulated, offset: int, size: int) -> None:
    with pytest.raises(OSError, match=r".") as refused:
        vf.access(offset, size)
    assert refused.value.errno == errno.EINVAL


def test_nothing_is_there_while_io_space_is_not_enabled() -> None:
    with pytest.raises(OSError, match="I/O space") as refused:
        Emulated().access(0, 4)
    assert refused.value.errno == errno.EIO
