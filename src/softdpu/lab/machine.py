"""A virtual machine as data, and the QEMU command line that it comes to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from softdpu.lab.build import Lab

Device = Mapping[str, object] | str
"""What follows -device: a mapping in the form of QMP's device_add, or QEMU's comma-separated text."""

Type = Literal["q35", "pc"]
Accelerator = Literal["kvm", "tcg"]

_BASE_CMDLINE = ("console=ttyS0", "rdinit=/init")
_PROCESSORS: dict[Accelerator, str] = {"kvm": "host", "tcg": "max"}


@dataclass(frozen=True)
class Machine:
    """What to boot. `memory` is in MiB; root ports are named rp1 ... rpN, bridges bridge1 ... bridgeN."""

    kernel: str
    type: Type = "q35"
    memory: int = 256
    processors: int = 1
    cmdline: str = ""
    devices: Sequence[Device] = ()
    netdevs: Sequence[Device] = ()
    root_ports: int = 0
    more: Sequence[str] = ()  # arguments of QEMU's, as they are
    bridges: int = 0  # conventional, on q35 each behind a port of its own: rpb1 ... rpbN

    def arguments(self, lab: Lab, accelerator: Accelerator) -> list[str]:
        """QEMU's arguments, but for the serial ports and monitors."""
        return [
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *("-accel", accelerator, "-cpu", _PROCESSORS[accelerator], "-smp", str(self.processors)),
            # Shared, or a device outside QEMU would read pages that the guest no longer writes.
            *("-object", f"memory-backend-memfd,id=ram,size={self.memory}M,share=on", "-m", f"{self.memory}M"),
            *("-machine", f"{self.type},memory-backend=ram"),
            *("-kernel", str(lab.kernel_image(self.kernel)), "-initrd", str(lab.initramfs(self.kernel))),
            *("-append", " ".join([*_BASE_CMDLINE, self.cmdline]).strip()),
            *self._buses(),
            *(word for netdev in self.netdevs for word in ("-netdev", _text(netdev))),
            *(word for device in self.devices for word in ("-device", _text(device))),
            *self.more,
        ]

    def _buses(self) -> list[str]:
        ports = [f"rp{number}" for number in range(1, self.root_ports + 1)]
        bridges = range(1, self.bridges + 1)
        chassis = [*ports, *(f"rpb{number}" for number in bridges if self.type == "q35")]
        words = []
        for number, port in enumerate(chassis, start=1):
            words += ["-device", f"pcie-root-port,id={port},bus=pcie.0,chassis={number},slot={number}"]
        for number in bridges:
            words += ["-device", self._bridge(number)]
        return words

    def _bridge(self, number: int) -> str:
        if self.type == "q35":
            return f"pcie-pci-bridge,id=bridge{number},bus=rpb{number}"
        return f"pci-bridge,id=bridge{number},bus=pci.0,chassis_nr={number}"


def serial(name: str, descriptor: int) -> list[str]:
    """The next serial port, connected to a stream socket that QEMU inherits."""
    return ["-chardev", f"socket,id={name},fd={descriptor}", "-serial", f"chardev:{name}"]


def monitor(name: str, descriptor: int) -> list[str]:
    """A QMP monitor on a stream socket that QEMU inherits."""
    return ["-chardev", f"socket,id={name},fd={descriptor}", "-mon", f"chardev={name},mode=control"]


def monitor_socket(path: Path) -> list[str]:
    """A QMP monitor that listens at `path`, for one client at a time."""
    return ["-qmp", f"unix:{str(path).replace(',', ',,')},server=on,wait=off"]


def _text(device: Device) -> str:
    return device if isinstance(device, str) else json.dumps(device)
