"""A hot-plugged transitional device works: each kernel, by either register interface, with either kind of interrupt."""

import pytest

from tests.guests.bench import Bench, Nic
from tests.guests.conftest import Boot

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]

KERNELS = ("6.1", "6.12", "7.3")
VECTORS = {"msix": None, "intx": 0}


@pytest.mark.parametrize("interrupts", ["msix", "intx"])
@pytest.mark.parametrize("driver", ["legacy", "modern"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_lane(bench: Bench, boot: Boot, kernel: str, driver: str, interrupts: str) -> None:
    guest = boot(kernel, legacy=driver == "legacy", cmdline="intel_iommu=off", root_ports=2)
    device = bench.hotplug(guest, vectors=VECTORS[interrupts])
    nic = bench.configure(guest, device)
    bench.ping_both_ways(nic)
    has_the_ids_of_a_transitional_device(nic)
    registers_are_where_the_driver_wants_them(nic, driver)
    interrupts_come_as_asked(nic, interrupts)
    shown = bench.dpu.query(device)
    assert (shown["transitional"], shown["driver_mode"]) == (1, driver)
    if interrupts == "intx":  # with MSI-X this QEMU would abort, and the unplug is refused
        bench.dpu.unplug(device)
        guest.wait_for(f"! ls /sys/class/net/{nic.name}")


def has_the_ids_of_a_transitional_device(nic: Nic) -> None:
    """Virtio 1.3 §4.1.2.1: device id 0x1000, subsystem id 1 (network), revision 0."""
    folder = f"/sys/bus/pci/devices/{nic.bdf}"
    ids = nic.guest.run(f"cd {folder}; cat vendor device subsystem_device revision class").output.split()
    assert ids == ["0x1af4", "0x1000", "0x0001", "0x00", "0x020000"]
    assert f"{nic.bdf.removeprefix('0000:')} 0200: 1af4:1000" in nic.guest.run("lspci -n").output


def registers_are_where_the_driver_wants_them(nic: Nic, driver: str) -> None:
    """A legacy driver claims the I/O BAR, a modern one does not."""
    assert ("virtio-pci-legacy" in nic.guest.run("cat /proc/ioports").output) == (driver == "legacy")


def interrupts_come_as_asked(nic: Nic, interrupts: str) -> None:
    """The pings before were served by the kind of interrupt that the device offers."""
    counts = interrupt_counts(nic)
    if interrupts == "msix":
        assert counts["input.0"] > 0
        assert nic.guest.run(f"ls /sys/bus/pci/devices/{nic.bdf}/msi_irqs").output
    else:
        assert list(counts) == [""]
        assert counts[""] > 0


def interrupt_counts(nic: Nic) -> dict[str, int]:
    """Of each interrupt of the device, by its name's end ("config", "input.0"; "" for INTx), how often it came."""
    virtio = nic.guest.run(f"basename /sys/bus/pci/devices/{nic.bdf}/virtio*").output.strip()
    lines = nic.guest.run("cat /proc/interrupts").output.splitlines()
    words = [line.split() for line in lines if virtio in line]
    return {line[-1].removeprefix(virtio).removeprefix("-"): int(line[1]) for line in words}


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_a_device_with_msix_works_in_a_guest_that_does_not_enable_it(bench: Bench, boot: Boot, kernel: str) -> None:
    """Virtio 1.3 §4.1.4.10: the device configuration then lies at 0x14, and the MAC would be wrong elsewhere."""
    guest = boot(kernel, legacy=True, cmdline="pci=nomsi", root_ports=1)
    nic = bench.configure(guest, bench.hotplug(guest))
    bench.ping_both_ways(nic)
    assert list(interrupt_counts(nic)) == [""]


def test_a_modern_only_device_has_no_port_registers(bench: Bench, boot: Boot) -> None:
    """Virtio 1.3 §4.1.2.1: device id 0x1041, revision 1 or more; a forced legacy driver leaves it to the modern one."""
    guest = boot("6.12", root_ports=1)
    nic = bench.configure(guest, bench.hotplug(guest, legacy=False))
    bench.ping_both_ways(nic)
    ids = guest.run(f"cd /sys/bus/pci/devices/{nic.bdf}; cat device revision; head -n 1 resource").output.split()
    assert ids[0] == "0x1041"
    assert int(ids[1], 16) >= 1
    assert int(ids[2], 16) == 0


def test_the_same_device_serves_both_drivers_in_turn(bench: Bench, boot: Boot) -> None:
    """A transitional device follows whichever driver resets it next."""
    guest = boot("6.1", root_ports=1)
    device = bench.hotplug(guest)
    bench.ping_both_ways(bench.configure(guest, device))
    for parameter, mode in (("force_legacy=1", "legacy"), ("", "modern")):
        guest.run(f"virtio reload {parameter}", check=True)
        bench.ping_both_ways(bench.configure(guest, device))
        assert bench.dpu.query(device)["driver_mode"] == mode
