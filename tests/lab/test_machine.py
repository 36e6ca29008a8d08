"""QEMU's command line."""

from softdpu.lab import Lab
from softdpu.lab.machine import Machine


def arguments(machine: Machine) -> str:
    return " ".join(machine.arguments(Lab(), "tcg"))


def test_memory_is_shared_with_device_processes() -> None:
    text = arguments(Machine("6.12", memory=512))
    assert "memory-backend-memfd,id=ram,size=512M,share=on" in text
    assert "-machine q35,memory-backend=ram" in text


def test_root_ports_are_numbered_from_one() -> None:
    text = arguments(Machine("6.12", root_ports=2))
    assert "pcie-root-port,id=rp1,bus=pcie.0,chassis=1,slot=1" in text
    assert "pcie-root-port,id=rp2,bus=pcie.0,chassis=2,slot=2" in text
    assert "id=rp3" not in text


def test_a_bridge_on_q35_has_a_port_of_its_own() -> None:
    text = arguments(Machine("6.12", root_ports=1, bridges=1))
    assert "pcie-root-port,id=rpb1,bus=pcie.0,chassis=2,slot=2" in text
    assert "pcie-pci-bridge,id=bridge1,bus=rpb1" in text


def test_a_bridge_on_i440fx_is_a_conventional_one() -> None:
    assert "pci-bridge,id=bridge1,bus=pci.0" in arguments(Machine("6.12", type="pc", bridges=1))


def test_devices_are_json_or_text() -> None:
    machine = Machine(
        "6.12", devices=[{"driver": "vfio-user-pci", "socket": {"type": "unix", "path": "/s"}}, "pvpanic"]
    )
    text = arguments(machine)
    assert '-device {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": "/s"}}' in text
    assert text.endswith("-device pvpanic")


def test_words_are_added_to_the_kernels_command_line() -> None:
    words = Machine("6.12", cmdline="intel_iommu=off").arguments(Lab(), "tcg")
    assert words[words.index("-append") + 1] == "console=ttyS0 rdinit=/init intel_iommu=off"
