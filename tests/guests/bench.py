"""A DPU and the guests that it plugs devices into: what the tests of this folder do over and over."""

import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from softdpu.lab import Guest, Lab
from tests.dpu_under_test import Dpu, Plugged, Reply

CYCLES = int(os.environ.get("SOFTDPU_TEST_CYCLES", "20"))
"""How often tests of wear repeat what they do; 200 for a release. What takes seconds is repeated a tenth as often."""


@dataclass(frozen=True)
class Nic:
    """A plugged device as its guest knows it: the interface, the PCI address, its IP address and the representor's."""

    guest: Guest
    device: Plugged
    name: str
    bdf: str
    address: str
    gateway: str


class Bench:
    """One DPU, its operator's commands, and a network number for each device."""

    def __init__(self, dpu: Dpu) -> None:
        self.dpu = dpu
        self.busybox = Lab().prefix.root / "usr/bin/busybox"
        self._numbers = itertools.count(1)
        self._hosts: dict[int, str] = {}

    def softdpu(self, *arguments: object) -> str:
        """Runs `softdpu`; a failure is a failed test."""
        code = "import sys; from softdpu.cli.softdpu import command; sys.exit(command(sys.argv[1:]))"
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, env=self.dpu.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"softdpu {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}"
        return done.stdout

    def attach(self, guest: Guest) -> None:
        """Makes the guest's QEMU a host to plug into."""
        self._hosts[guest.pid] = f"host{guest.pid}"
        self.softdpu("host", "attach", guest.qmp_path, "--name", self._hosts[guest.pid])

    def detach(self, guest: Guest) -> None:
        """Forgets the guest's QEMU; does nothing when it was not attached."""
        if self._hosts.pop(guest.pid, None):
            self.softdpu("host", "detach", f"host{guest.pid}")

    def hotplug(
        self,
        guest: Guest | None,
        *,
        vectors: int | None = None,
        legacy: bool = True,
        features: int = 0,
        export: str = "vfio-user",
        queues: int = 3,
        more: Sequence[object] = (),
    ) -> Plugged:
        """Plugs a device into the guest; without a guest it waits on its socket.

        `export` "auto" is what an operator gets who says nothing of it; `vectors` is the number of MSI-X vectors: 0
        for INTx only, None for what the firmware says; `more` are further options.
        """
        more = ["--export", export, "-n", queues, *([] if vectors is None else ["--num_msix", vectors]), *more]
        mac, reply = self.try_hotplug(guest, *(["-l"] if legacy else []), "-f", hex(features), *more)
        assert reply.status == 0, f"{reply.output}{reply.errors}{self.dpu.log.read_text()[-4000:]}"
        path = self.dpu.root / "run/virtnet" / f"{reply.json['vuid']}.sock"
        named = reply.json
        return Plugged(named["vuid"], int(named["id"]), mac, named["sf_rep_net_device"], path, named)

    def try_hotplug(self, guest: Guest | None, *options: object) -> tuple[bytes, Reply]:
        """Runs `virtnet hotplug` with a MAC of its own, for the guest; what the operator reads is the answer."""
        mac = bytes.fromhex("0cc47aff00") + bytes([next(self._numbers)])
        line = ["-i", "mlx5_0", "-f", "0x0", "-m", mac.hex(":"), "-t", 1500, "-n", 3, "-s", 256, *options]
        line += [] if guest is None else ["--host", self._hosts[guest.pid]]
        return mac, self.dpu.virtnet("hotplug", *line, check=False)

    def address(self, device: Plugged, gateway: str | None = None) -> None:
        """Takes the representor up with an address, .1 of the device's own network; `gateway` "": none."""
        gateway = f"198.18.{device.mac[-1]}.1" if gateway is None else gateway
        if gateway:
            self.dpu.ip("addr", "replace", f"{gateway}/24", "dev", device.representor)
        self.dpu.ip("link", "set", device.representor, "up")

    def wait_until_connected(self, device: Plugged, timeout: float = 30.0) -> None:
        """Waits until the device's VMM is connected, as the operator sees it."""
        deadline = time.monotonic() + timeout
        while self.dpu.query(device)["vmm"] != "connected":
            assert time.monotonic() < deadline, self.dpu.log.read_text()[-4000:]
            time.sleep(0.1)

    def configure(self, guest: Guest, device: Plugged, network: str | None = None, host: int = 2) -> Nic:
        """Waits for the guest's driver and gives both ends addresses: .`host` to the guest, .1 to the representor.

        Without `network` ("192.0.2") the device gets one of its own.
        """
        gateway = "" if network else f"198.18.{device.mac[-1]}.1"
        address = f"{network}.{host}" if network else f"198.18.{device.mac[-1]}.2"
        name = self.interface(guest, device)
        self.address(device, gateway)
        guest.run(f"ip addr add {address}/24 dev {name} && ip link set {name} up", check=True)
        path = guest.run(f"readlink -f /sys/class/net/{name}/device", check=True).output
        bdf = re.findall(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", path)[-1]
        return Nic(guest, device, name, bdf, address, gateway)

    def interface(self, guest: Guest, device: Plugged) -> str:
        """The name of the guest's interface that has the device's MAC, once it is there."""
        found = guest.wait_for(f"grep -l {device.mac.hex(':')} /sys/class/net/*/address", timeout=30)
        return Path(found.output.strip()).parent.name

    def ping_guest(self, nic: Nic, count: int = 3) -> str:
        """Pings the guest from the representor's end; all must come back."""
        return self.in_namespace("ping", "-c", count, "-i", "0.2", "-W", "5", "-I", nic.device.representor, nic.address)

    def in_namespace(self, applet: str, *arguments: object) -> str:
        """Runs one of busybox's commands where the representors are; a failure is a failed test."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.dpu.netns, str(self.busybox), applet, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{applet} {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}"
        return done.stdout

    def ping_both_ways(self, nic: Nic, count: int = 3) -> None:
        """Guest to representor and back: not one reply may be missing."""
        ping(nic.guest, nic.gateway, count)
        assert " 0% packet loss" in self.ping_guest(nic, count)


def ping(guest: Guest, address: str, count: int = 3, size: int = 56) -> str:
    """Pings from a guest; all must come back."""
    result = guest.run(f"ping -c {count} -i 0.2 -W 5 -s {size} {address}")
    assert " 0% packet loss" in result.output, f"{result.output}\n{guest.running.last_lines()}"
    return result.output
