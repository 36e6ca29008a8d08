"""Boot firmware drives the device before any kernel does: UEFI's driver, a legacy one where it can be, and iPXE's.

Each gets an address, loads iPXE or a script over TFTP, and then a file of 300 KB.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from softdpu.lab import Lab
from tests.dpu_under_test import Dpu, Plugged
from tests.guests.netboot import Server

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]

PATIENCE = 150  # seconds; a boot takes 10 on a quiet machine
SCRIPT = b"""#!ipxe
ifclose net0
ifopen net0
dhcp net0
imgfetch tftp://10.9.0.1/payload && echo PAYLOAD-${net0/mac}-OK
"""


@pytest.fixture(scope="module")
def dpu() -> Iterator[Dpu]:
    """A DPU of its own: a machine that has no operating system is no host."""
    with Dpu() as dpu:
        yield dpu
        assert dpu.own_mistakes() == []


def boots(
    dpu: Dpu, device: Plugged, device_words: Sequence[str], words: Sequence[str], first: str, console: Path
) -> bool:
    """Whether a machine with this device loads everything from the network; what it said is on ``console``."""
    lab = Lab().build()
    files = {
        "script": SCRIPT,
        "payload": os.urandom(300_000),
        "snponly.efi": (lab.firmware() / "snponly.efi").read_bytes(),
    }
    command = lab.prefix.qemu(
        *("-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-cpu", "max", "-m", "256M"),
        *("-object", "memory-backend-memfd,id=ram,size=256M,share=on"),
        *("-machine", "q35,memory-backend=ram,graphics=off", "-serial", f"file:{console}"),
        *device_words,
        *words,
    )
    with dpu.representor(device) as representor, Server(representor, files, first, "script") as server:
        with subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *command], env=lab.prefix.environment()) as qemu:
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline and qemu.poll() is None and not _said(console, device):
                time.sleep(0.2)
            qemu.kill()
        assert server.wrong == []
        assert dpu.faults(device) == []
        return "payload" in server.done and _said(console, device)


def _said(console: Path, device: Plugged) -> bool:
    return console.exists() and f"PAYLOAD-{device.mac.hex(':')}-OK".encode() in console.read_bytes()


def vfio_user(device: Plugged) -> list[str]:
    socket = f'{{"type":"unix","path":"{device.socket}"}}'
    return ["-device", f'{{"driver":"vfio-user-pci","socket":{socket},"bootindex":1}}']


def vhost_user(device: Plugged, driver: str) -> list[str]:
    function = f"{driver},netdev=net,bus=pcie.0,bootindex=1,romfile=,mac={device.mac.hex(':')}"
    return [
        *("-chardev", f"socket,id=socket,path={device.socket}", "-netdev", "vhost-user,id=net,chardev=socket"),
        *("-device", function),
    ]


def ipxe() -> list[str]:
    return ["-kernel", str(Lab().firmware() / "ipxe.lkrn")]


def uefi() -> list[str]:
    code, variables = (Lab().firmware() / f"OVMF_{name}_4M.fd" for name in ("CODE", "VARS"))
    flash = "if=pflash,format=raw"
    return ["-drive", f"{flash},readonly=on,file={code}", "-drive", f"{flash},snapshot=on,file={variables}"]


def test_ipxe_opens_the_device_again_and_again(dpu: Dpu, tmp_path: Path) -> None:
    """Its second open sets FEATURES_OK alone, without ACKNOWLEDGE and DRIVER."""
    device = dpu.hotplug(export="vfio-user")
    assert boots(dpu, device, vfio_user(device), ipxe(), "script", tmp_path / "console")


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "modern"])
def test_uefi_boots_from_the_network(dpu: Dpu, tmp_path: Path, legacy: bool) -> None:
    """Its driver takes a transitional device by the legacy interface, with rings that it polls."""
    device = dpu.hotplug(legacy=legacy, export="vfio-user")
    assert boots(dpu, device, vfio_user(device), uefi(), "snponly.efi", tmp_path / "console")


@pytest.mark.parametrize("mode", ["legacy", "modern"])
def test_ipxe_behind_vhost_user(dpu: Dpu, tmp_path: Path, mode: str) -> None:
    """QEMU can hide the modern interface of its own function: then iPXE uses the legacy one."""
    device = dpu.hotplug(export="vhost-user")
    driver = "virtio-net-pci,disable-legacy=off,disable-modern=" + ("on" if mode == "legacy" else "off")
    assert boots(dpu, device, vhost_user(device, driver), ipxe(), "script", tmp_path / "console")
