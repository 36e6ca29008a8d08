"""What the simulated kernel shows in its files, and what they take."""

import errno

import pytest

from softdpu.host.simulated import control, procfs, sysfs
from softdpu.host.simulated.tree import Directory, File, Link, find
from tests.host.simulated.machine import PF, Bus, booted, function


def read(root: Directory, path: str) -> str:
    """A file's text."""
    node = find(root, path)
    assert isinstance(node, File)
    assert node.read is not None
    return node.read().decode().rstrip("\n")


def write(root: Directory, path: str, text: str) -> None:
    """One write(2)."""
    node = find(root, path)
    assert isinstance(node, File)
    assert node.write is not None
    node.write(text.encode())


def test_a_function_says_what_it_is() -> None:
    bus = sysfs.bus_pci(booted())
    shown = [read(bus, f"devices/{PF}/{name}") for name in ("vendor", "device", "class", "subsystem_device")]
    assert shown == ["0x1af4", "0x1000", "0x020000", "0x0001"]


def test_numvfs_is_written_and_links_appear() -> None:
    bus = sysfs.bus_pci(booted())
    write(bus, f"devices/{PF}/sriov_numvfs", "2\n")
    assert read(bus, f"devices/{PF}/sriov_numvfs") == "2"
    assert find(bus, f"devices/{PF}/virtfn1") == Link("../0000:14:01.1")
    assert find(bus, "devices/0000:14:01.1/physfn") == Link(f"../{PF}")


def test_a_function_without_vfs_has_no_such_files() -> None:
    with pytest.raises(OSError, match="sriov_numvfs") as missing:
        find(sysfs.bus_pci(booted(Bus(function(PF)))), f"devices/{PF}/sriov_numvfs")
    assert missing.value.errno == errno.ENOENT


def test_binding_is_seen_on_both_sides() -> None:
    bus = sysfs.bus_pci(booted())
    assert find(bus, f"devices/{PF}/driver") == Link("../../drivers/virtio-pci")
    assert find(bus, f"drivers/virtio-pci/{PF}") == Link(f"../../devices/{PF}")
    write(bus, "drivers/virtio-pci/unbind", PF)
    with pytest.raises(OSError, match="driver"):
        find(bus, f"devices/{PF}/driver")


def test_bars_have_the_same_addresses_everywhere() -> None:
    kernel = booted()
    line = read(sysfs.bus_pci(kernel), f"devices/{PF}/resource").splitlines()[0]
    assert line.startswith("0x0000000000003000 0x000000000000303f")
    config = find(sysfs.bus_pci(kernel), f"devices/{PF}/config")
    assert isinstance(config, File)
    assert config.read is not None
    assert config.read()[0x10:0x14] == (0x3001).to_bytes(4, "little")
    assert f"    3000-303f : {PF}" in list(procfs.ioports(kernel))


def test_a_legacy_driver_claims_its_ports() -> None:
    kernel = booted()
    assert "      3000-303f : virtio-pci-legacy" not in list(procfs.ioports(kernel))
    kernel.unload("virtio_pci")
    write(control.control(kernel), "load", "virtio_pci force_legacy=1")
    assert "      3000-303f : virtio-pci-legacy" in list(procfs.ioports(kernel))
    assert read(sysfs.modules(kernel), "virtio_pci/parameters/force_legacy") == "Y"


def test_late_buses_get_no_window() -> None:
    buses = [function(f"0000:{0x14 + n:02x}:00.0") for n in range(31)]
    windows = [line for line in procfs.ioports(booted(Bus(*buses))) if line.startswith("  ") and "PCI Bus" in line]
    assert (len(windows), windows[-1]) == (13, "  f000-ffff : PCI Bus 0000:20")


def test_text_that_is_none_is_invalid() -> None:
    with pytest.raises(OSError, match="text") as refused:
        node = find(sysfs.bus_pci(booted()), "drivers/virtio-pci/bind")
        assert isinstance(node, File)
        assert node.write is not None
        node.write(b"\xff\xfe")
    assert refused.value.errno == errno.EINVAL


def test_a_path_through_a_file_is_none() -> None:
    with pytest.raises(OSError, match="below no directory") as refused:
        find(sysfs.bus_pci(booted()), f"devices/{PF}/vendor/more")
    assert refused.value.errno == errno.ENOTDIR
