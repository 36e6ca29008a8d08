"""The simulated host, whole: a controller, a datapath, FUSE in a namespace, the real lspci."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.dpu_under_test import FIRMWARE, Dpu

STATIC = {"VIRTIO_NET_EMULATION_NUM_PF": 2, "VIRTIO_NET_EMULATION_PF_PCI_LAYOUT": 1}


class Host:
    """The host of a DPU: runs commands there."""

    def __init__(self, dpu: Dpu) -> None:
        self.dpu = dpu

    def softdpu(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """The operator's command."""
        command = [sys.executable, "-c", "from softdpu.cli.softdpu import main; main()", *words]
        return subprocess.run(
            command, env=self.dpu.environment, capture_output=True, text=True, check=False, timeout=60
        )

    def run(self, script: str) -> str:
        """What a shell on the host prints, errors too."""
        done = self.softdpu("host", "shell", "-c", f"exec 2>&1\n{script}")
        return done.stdout + done.stderr


@pytest.fixture
def host(dpu_with_pfs: Dpu) -> Iterator[Host]:
    """A host that is switched off afterwards."""
    host = Host(dpu_with_pfs)
    yield host
    host.softdpu("host", "off")


@pytest.fixture(scope="module")
def dpu_with_pfs() -> Iterator[Dpu]:
    """A DPU with two static PFs, transitional."""
    with Dpu({**FIRMWARE, **STATIC}) as dpu:
        yield dpu
        assert dpu.own_mistakes() == []


def test_lspci_and_proc_show_the_dpus_functions(host: Host) -> None:
    assert "14:00.2 0200: 1af4:1000" in host.run("lspci -n")
    shown = host.run("lspci -k -s 14:00.3")
    assert ("Kernel driver in use: virtio-pci" in shown, "libkmod" in shown) == (True, False)
    assert "3000-303f : 0000:14:00.2" in host.run("cat /proc/ioports")


def test_the_drivers_really_drive(host: Host) -> None:
    host.run("true")
    shown = host.dpu.virtnet("query", "-p", 0).json["devices"][0]
    assert shown["status"]["2"] == "DRIVER_OK"
    host.run("echo 0000:14:00.2 > /sys/bus/pci/drivers/virtio-pci/unbind")
    shown = host.dpu.virtnet("query", "-p", 0).json["devices"][0]
    assert shown["status"]["value"] == "0x0"


def test_the_manuals_reload_drives_legacy(host: Host) -> None:
    said = host.run("modprobe -rv virtio_pci; modprobe -v virtio_pci force_legacy=1; cat /proc/ioports")
    assert "rmmod virtio_pci\n" in said
    assert "virtio_pci.ko force_legacy=1\n" in said
    assert "3000-303f : virtio-pci-legacy" in said


def test_a_wrong_write_gets_the_kernels_errno(host: Host) -> None:
    assert "No such device" in host.run("echo 0000:99:00.0 > /sys/bus/pci/drivers/virtio-pci/bind")
    assert "Device or resource busy" in host.run("echo 0000:14:00.2 > /sys/bus/pci/drivers/virtio-pci/bind")
    assert "drivers/virtio-pci/bind: 0000:14:00.2 is bound to virtio-pci" in host.run("dmesg")


def test_drivers_keep_their_functions_while_the_controller_restarts(host: Host) -> None:
    host.run("true")
    host.dpu.restart_controller()
    assert "virtio-pci" in host.run("lspci -k -s 14:00.2")
    assert host.dpu.virtnet("query", "-p", 0).json["devices"][0]["status"]["2"] == "DRIVER_OK"


def test_another_kernel_is_chosen_when_the_host_is_switched_on(host: Host) -> None:
    assert "5.4.0" in host.softdpu("host", "shell", "--kernel", "5.4", "-c", "uname -r").stdout
    refused = host.softdpu("host", "shell", "--kernel", "6.1", "-c", "uname -r")
    assert (refused.returncode, "softdpu host off" in refused.stderr) == (1, True)
    assert "not found in directory" in host.run("modprobe virtio_vfio_pci")
    assert "transitional VFs need a kernel newer than 6.9" in host.run("dmesg")


def test_the_machine_itself_is_not_touched(host: Host) -> None:
    host.run("true")
    mounts = subprocess.run(["cat", "/proc/mounts"], capture_output=True, text=True, check=True).stdout
    assert "softdpu-host" not in mounts


def test_a_host_that_is_off_leaves_its_functions_free(host: Host) -> None:
    host.run("true")
    host.softdpu("host", "off")
    assert host.dpu.virtnet("query", "-p", 0).json["devices"][0]["status"]["value"] == "0x0"
