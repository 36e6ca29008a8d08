"""Transitional VFs, whole: the manual's steps on the simulated host, and a legacy driver in the place of the VM."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from softdpu.spec.virtio_pci import ISR_CONFIG, ISR_QUEUE
from softdpu.testkit import Client, GuestMemory, LegacyDriver, frame
from tests.daemon.test_simulated_host import Host
from tests.dpu_under_test import FIRMWARE, Dpu

VFS = {**FIRMWARE, "VIRTIO_NET_EMULATION_NUM_PF": 1, "VIRTIO_NET_EMULATION_NUM_VF": 4, "PF_TOTAL_SF": 64}
PF, VF = "0000:14:00.2", "/sys/bus/pci/devices/0000:14:00.2/virtfn0"
MANUAL = f"""
echo 2 > /sys/bus/pci/devices/{PF}/sriov_numvfs
vf=$(basename $(readlink {VF}))
echo $vf > /sys/bus/pci/drivers/virtio-pci/unbind
modprobe -v virtio_vfio_pci
echo 0x1af4 0x1041 > /sys/bus/pci/drivers/virtio_vfio_pci/new_id
"""


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host whose PF can have VFs, with lm_prov as the test's parameter says (default: kernel)."""
    settings = {"lm_prov": "kernel"} if getattr(request, "param", True) else {}
    with Dpu(VFS, **settings) as dpu:
        host = Host(dpu)
        try:
            yield host
        finally:
            host.softdpu("host", "off")
            assert dpu.own_mistakes() == []


@pytest.fixture
def vm(host: Host) -> Iterator[Client]:
    """A VMM on the first VF, given to it as the manual says."""
    host.run(MANUAL)
    with Client(Path(host.run(f"cat {VF}/softdpu_socket").strip())) as client:
        client.negotiate()
        yield client


def test_the_manuals_steps_make_a_transitional_vf(host: Host) -> None:
    assert "Kernel driver in use: virtio_vfio_pci" in host.run(MANUAL + "lspci -k -s ${vf#0000:}")
    assert '"transitional": 1,' in host.dpu.virtnet("query", "-p", 0, "-v", 0).output


def test_a_legacy_driver_sends_and_receives_by_commands_to_the_pf(host: Host, vm: Client) -> None:
    shown = host.dpu.virtnet("query", "-p", 0, "-v", 0).json["devices"][0]
    with GuestMemory() as memory:
        memory.map_into(vm)
        with LegacyDriver(vm, memory).start() as net:
            assert (net.card.device, net.card.revision, net.mac.hex(":")) == (0x1000, 0, shown["mac"].lower())
            port = host.dpu.representor_named(shown["sf_rep_net_device"])
            with port:
                net.send(frame(bytes([0xFF] * 6), net.mac, b"out"))
                assert b"out" in port.receive()
                port.send(frame(net.mac, bytes.fromhex("020000000001"), b"in"))
                assert b"in" in net.receive(timeout=5.0)
            net.stop()
    counted = host.dpu.virtnet("stats", "-p", 0).json["device"]["admin-queue"]["commands"]
    assert counted["LEGACY_COMMON_CFG_WRITE"]["done"] > 5


def test_each_access_stands_beside_its_command_in_the_trace(host: Host, vm: Client) -> None:
    with GuestMemory() as memory:
        memory.map_into(vm)
        LegacyDriver(vm, memory).start().stop()
    trace = host.run("cat $(dirname $(command -v lsmod))/../files/control/trace")
    assert "write 0x12+1 = 01" in trace
    assert "LEGACY_COMMON_CFG_WRITE offset" in trace
    assert "notify: BAR 4 offset 0x3800" in trace


@pytest.mark.parametrize("host", [False], indirect=True)
def test_without_lm_prov_a_vf_is_modern_only(host: Host) -> None:
    host.run(MANUAL)
    with Client(Path(host.run(f"cat {VF}/softdpu_socket").strip())) as vmm:
        vmm.negotiate()
        assert vmm.read(7, 2, 2) == bytes.fromhex("4110")
    assert '"transitional": 0,' in host.dpu.virtnet("query", "-p", 0, "-v", 0).output


def test_a_vm_keeps_the_vfs_of_its_pf(host: Host, vm: Client) -> None:
    assert vm.read(7, 2, 2) == bytes.fromhex("0010")
    assert "Operation not permitted" in host.run(f"echo 0 > /sys/bus/pci/devices/{PF}/sriov_numvfs")
    assert "Device or resource busy" in host.run(f"echo 3 > /sys/bus/pci/devices/{PF}/sriov_numvfs")
    assert "Numerical result out of range" in host.run(f"echo 5 > /sys/bus/pci/devices/{PF}/sriov_numvfs")


def test_vfs_go_when_nobody_has_them(host: Host) -> None:
    host.run(MANUAL)
    host.run(f"echo 0 > /sys/bus/pci/devices/{PF}/sriov_numvfs")
    assert host.run("lspci | wc -l").split()[-1] == "1"
    assert host.dpu.virtnet("query", "-p", 0, "-v", 0, check=False).status == 1


def test_the_isr_of_a_vf_is_read_by_command_and_cleared_by_that(host: Host, vm: Client) -> None:
    """LEGACY_COMMON_CFG_READ has the effect of reading the register (virtio 1.3 §2.12.1.2): for drivers that poll."""
    shown = host.dpu.virtnet("query", "-p", 0, "-v", 0).json["devices"][0]
    with GuestMemory() as memory:
        memory.map_into(vm)
        with LegacyDriver(vm, memory, interrupts="none").start() as net:
            assert net.read_isr() == 0
            with host.dpu.representor_named(shown["sf_rep_net_device"]) as port:
                port.send(frame(net.mac, bytes.fromhex("020000000001"), b"in"))
                assert b"in" in net.receive(timeout=5.0)
            assert [net.read_isr(), net.read_isr()] == [ISR_QUEUE, 0]
            host.dpu.virtnet("modify", "-p", 0, "-v", 0, "device", "-l", 0)
            assert [net.read_isr(), net.read_isr()] == [ISR_CONFIG, 0]
