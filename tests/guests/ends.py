"""Two guests on one network that tests take turns with: each finds them as the first did, whatever happened meanwhile.

What cannot be put right by commands is put right by other guests, so that one test's failure is not the next one's.
"""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from softdpu.lab import Guest
from softdpu.lab.errors import GuestError
from softdpu.spec import features as f
from tests.guests.bench import Bench, Nic

KERNELS = ("6.12", "7.3")
VLAN = 7
ADDRESSES = {"IPv4": "192.0.2.{}", "IPv6": "fd00::{}", "VLAN": "198.51.100.{}"}
SIZE = 1 << 20
HASH_REPORT = f.mask_of(f.NET_HASH_REPORT)  # on request only
ON = "tx on sg on tso on gso on rx-gro-hw on rxhash off tx-udp-segmentation on"  # USO: 6.12 leaves it off
# What a test may have changed, and how it was. Programs first: they may hold an address.
AS_IT_WAS = (
    "killall -q -KILL nc iperf3 datagrams || true",
    "ip link set {name} address {mac} up promisc off",
    "ifconfig {name} -allmulti",
    "ethtool -X {name} default",
    "ethtool -L {name} combined 1",
    f"ethtool -K {{name}} {ON}",
    "ethtool -C {name} rx-usecs 0 rx-frames 0 tx-usecs 0 tx-frames 1",
    "sysctl -qw net.ipv4.tcp_ecn=2",
)


class Ends:
    """A guest of each kernel with a modern device of two pairs; both know the addresses of all tests.

    ``files`` are programs that they have, by their paths.
    """

    def __init__(self, bench: Bench, files: Mapping[str, bytes] | None = None) -> None:
        self.bench = bench
        self.files = files or {}
        self._stack = ExitStack()
        self._nics: dict[str, Nic] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._power_off()

    def __getitem__(self, kernel: str) -> Nic:
        return self._nics[kernel]

    def other(self, end: Nic) -> Nic:
        """The one at the other end."""
        return next(nic for nic in self._nics.values() if nic is not end)

    def both(self) -> list[Nic]:
        """Both of them."""
        return list(self._nics.values())

    def restore(self) -> None:
        """Both are as they were at first."""
        if not (self._nics and all(map(self._restored, self.both()))):
            self._power_off()
            self._power_on()

    def _restored(self, nic: Nic) -> bool:
        words = {"name": nic.name, "mac": nic.device.mac.hex(":")}
        try:
            nic.guest.run("set -ex\n" + "\n".join(AS_IT_WAS).format(**words), timeout=20, check=True)
        except GuestError as error:
            print(f"the guest {nic.guest.release} is started anew: {error}")
            return False
        return not self.bench.dpu.faults(nic.device)

    def _power_on(self) -> None:
        guests = {kernel: Guest(kernel, root_ports=1) for kernel in KERNELS}
        for guest in guests.values():
            self._stack.callback(guest.stop)
            guest.start()
        for guest in guests.values():
            guest.ready()
        for host, (kernel, guest) in enumerate(guests.items(), 2):
            self._nics[kernel] = self._plug(guest, host)

    def _plug(self, guest: Guest, host: int) -> Nic:
        self.bench.attach(guest)
        self._stack.callback(self.bench.detach, guest)
        nic = self.bench.configure(
            guest, self.bench.hotplug(guest, legacy=False, queues=5, features=HASH_REPORT), "192.0.2", host
        )
        for line in (
            f"ip addr add {ADDRESSES['IPv6'].format(host)}/64 dev {nic.name}",
            f"modprobe 8021q && ip link add link {nic.name} name vlan{VLAN} type vlan id {VLAN}",
            f"ip addr add {ADDRESSES['VLAN'].format(host)}/24 dev vlan{VLAN} && ip link set vlan{VLAN} up",
            f"ethtool -K {nic.name} {ON}",
            f"head -c {SIZE} /dev/urandom >/tmp/sent",
        ):
            guest.run(line, check=True)
        for path, content in self.files.items():
            guest.write_file(path, content)
            guest.run(f"chmod +x {path}", check=True)
        return nic

    def _power_off(self) -> None:
        self._nics.clear()
        self._stack.close()


def ethtool(end: Nic, option: str, *words: object) -> str:
    """What ``ethtool`` says of the interface, or was told."""
    return end.guest.run(f"ethtool {option} {end.name} {' '.join(map(str, words))}", check=True).output


def shown(text: str) -> dict[str, str]:
    """The lines ``name: value`` of what ethtool says; of a name that comes twice, the first."""
    found: dict[str, str] = {}
    for name, value in re.findall(r"^\s*([^:\n]+):[ \t]*(\S+)", text, re.MULTILINE):
        found.setdefault(name, value)
    return found
