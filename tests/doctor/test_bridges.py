"""Hot-plug ports and their windows, from configuration space."""

from pathlib import Path

import pytest

from softdpu.doctor.bridges import hotplug_ports
from tests.doctor.conftest import Tree

CAPABLE, SLOT = 1 << 6, 1 << 8


def port(
    io: tuple[int, int] = (0x11, 0x11), *, flags: int = SLOT | 0x42, slot: int = CAPABLE, size: int = 256
) -> bytes:
    """Configuration space of a PCI Express root port."""
    config = bytearray(size)
    config[0x06], config[0x0E], config[0x1C], config[0x1D], config[0x34] = 0x10, 1, *io, 0x40
    if size > 64:
        config[0x40:0x44] = bytes((0x10, 0)) + flags.to_bytes(2, "little")
        config[0x54:0x58] = slot.to_bytes(4, "little")
    return bytes(config)


def ports(tree: Tree, config: bytes) -> list[tuple[str, int]]:
    """Addresses and windows of the ports of a machine with this one function."""
    tree.put("sys/bus/pci/devices/0000:00:02.0/config", config)
    return [(found.address, found.windows) for found in hotplug_ports(tree.machine.devices)]


def test_a_port_passes_on_the_window_that_its_registers_say(tree: Tree) -> None:
    assert ports(tree, port((0x11, 0x21))) == [("0000:00:02.0", 2)]


@pytest.mark.parametrize("closed", [(0xF1, 0x01), (0x01, 0x01), (0, 0)])
def test_a_closed_window_is_none(tree: Tree, closed: tuple[int, int]) -> None:
    assert ports(tree, port(closed)) == [("0000:00:02.0", 0)]


def test_a_port_that_takes_no_hot_plug_is_left_out(tree: Tree) -> None:
    assert ports(tree, port(slot=0)) == []
    assert ports(tree, port(flags=0x42)) == []


def test_a_list_of_capabilities_that_loops_ends(tree: Tree) -> None:
    config = bytearray(port())
    config[0x40:0x42] = bytes((0x05, 0x40))
    assert ports(tree, bytes(config)) == []


def test_half_of_configuration_space_is_not_enough(tree: Tree) -> None:
    with pytest.raises(PermissionError):
        ports(tree, port(size=64))


def test_a_machine_without_pci_has_none(tmp_path: Path) -> None:
    assert hotplug_ports(tmp_path / "none") == ()
