"""What stock drivers make of the features: they see them, they use them, and with any of them off no byte is lost."""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from softdpu.lab import Guest
from tests.guests.bench import Bench, Nic

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]

KERNELS = ("6.12", "7.3")
SIZE = 1 << 20
PORT = 9000
VLAN = 7
ADDRESSES = {"IPv4": "192.0.2.{}", "IPv6": "fd00::{}", "VLAN": "198.51.100.{}"}
SHOWN = (
    "tx-checksum-ip-generic",
    "tx-tcp-segmentation",
    "tx-tcp6-segmentation",
    "tx-udp-segmentation",
    "rx-gro-hw",
    "rx-checksumming",
)
# What is turned off, one after the other, at both ends; "gso" and "sg" take what builds on them along.
OFF = ("", "tso", "rx-gro-hw", "gso", "tx", "sg")
ON = "tx on sg on tso on gso on rx-gro-hw on tx-udp-segmentation on"


@pytest.fixture(scope="module")
def ends(bench: Bench) -> Iterator[dict[str, Nic]]:
    """A guest of each kernel, with a device of two pairs on the fabric; both know the addresses of all tests."""
    with ExitStack() as stack:
        guests = {kernel: stack.enter_context(Guest(kernel, root_ports=1)) for kernel in KERNELS}
        yield {kernel: nic(bench, stack, guest, host) for host, (kernel, guest) in enumerate(guests.items(), 2)}


def nic(bench: Bench, stack: ExitStack, guest: Guest, host: int) -> Nic:
    bench.attach(guest)
    stack.callback(bench.detach, guest)
    device = bench.hotplug(guest, legacy=False, queues=5)
    found = bench.configure(guest, device, "192.0.2", host)
    for line in (
        f"ip addr add {ADDRESSES['IPv6'].format(host)}/64 dev {found.name}",
        f"modprobe 8021q && ip link add link {found.name} name vlan7 type vlan id {VLAN}",
        f"ip addr add {ADDRESSES['VLAN'].format(host)}/24 dev vlan7 && ip link set vlan7 up",
        f"ethtool -K {found.name} tx-udp-segmentation on",  # which this driver leaves off
        f"head -c {SIZE} /dev/urandom >/tmp/sent",
    ):
        guest.run(line, check=True)
    return found


@pytest.fixture(params=KERNELS)
def end(request: pytest.FixtureRequest, ends: dict[str, Nic]) -> Nic:
    """The guest of each kernel in turn."""
    return ends[request.param]


def ethtool(end: Nic, option: str, *words: object) -> str:
    return end.guest.run(f"ethtool {option} {end.name} {' '.join(map(str, words))}", check=True).output


def shown(text: str) -> dict[str, str]:
    """The lines ``name: value`` of what ethtool says; of a name that comes twice, the first."""
    found: dict[str, str] = {}
    for name, value in re.findall(r"^\s*([^:\n]+):[ \t]*(\S+)", text, re.MULTILINE):
        found.setdefault(name, value)
    return found


def test_features_are_seen(end: Nic) -> None:
    seen = shown(ethtool(end, "-k"))
    assert {name: seen[name] for name in SHOWN} == dict.fromkeys(SHOWN, "on")
    assert shown(ethtool(end, "-l"))["Combined"] == "2"
    table = ethtool(end, "-x")
    assert len(re.findall(r"^\s*\d+:((?:\s+\d+)+)$", table, re.MULTILINE)) == 128 // 8
    assert re.search(r"^([0-9a-f]{2}:){39}[0-9a-f]{2}$", table, re.MULTILINE)
    assert shown(table)["toeplitz"] == "on"


def frames(bench: Bench, end: Nic) -> list[int]:
    """Frames' buffers used on each receive queue so far, as the operator sees them."""
    (shown,) = bench.dpu.virtnet("query", "-p", end.device.pf).json["devices"]
    used = {queue["index"]: int(queue["completed_desc"]) for queue in shown["enabled-queues-info"]}
    return [used["0"], used["2"]]


@pytest.mark.parametrize(("weights", "queue"), [("0 1", 1), ("1 0", 0)])
def test_traffic_arrives_on_the_queue_of_the_table(
    bench: Bench, ends: dict[str, Nic], end: Nic, weights: str, queue: int
) -> None:
    other = next(one for one in ends.values() if one is not end)
    ethtool(end, "-L", "combined 2")
    ethtool(end, "-X", f"weight {weights}")
    before = frames(bench, end)
    ping = other.guest.run(f"ping -c 5 -i 0.2 {end.address}", check=True).output
    ping6 = other.guest.run(f"ping -c 5 -i 0.2 {ADDRESSES['IPv6'].format(end.address[-1])}", check=True).output
    arrived = [now - then for now, then in zip(frames(bench, end), before, strict=True)]
    assert " 0% packet loss" in ping and " 0% packet loss" in ping6
    assert arrived[queue] >= 10


def test_hashes_are_taken_by_the_driver(end: Nic) -> None:
    ethtool(end, "-K", "rxhash on")
    assert shown(ethtool(end, "-k"))["receive-hashing"] == "on"


@pytest.mark.parametrize("off", OFF)
def test_no_byte_is_lost(bench: Bench, ends: dict[str, Nic], off: str) -> None:
    """Over IPv4, IPv6 and a VLAN, both ways, while both ends have something turned off."""
    one, other = ends.values()
    for end in (one, other):
        ethtool(end, "-K", f"{off} off" if off else ON)
    try:
        for address in ADDRESSES.values():
            for sender, receiver in ((one, other), (other, one)):
                transfer(sender, receiver, address.format(receiver.address[-1]))
    finally:
        for end in (one, other):
            ethtool(end, "-K", ON)
    for end in (one, other):
        assert bench.dpu.counters(end.device)["drop_bad_header"] == 0


def transfer(sender: Nic, receiver: Nic, address: str) -> None:
    """A file from one guest to the other: what arrives has the checksum of what was sent."""
    receiver.guest.run(f"setsid nc -l -p {PORT} -e sha256sum >/dev/null 2>&1 & sleep 0.1", check=True)
    receiver.guest.wait_for(f"netstat -ltn | grep :{PORT}", interval=0.05)
    send = f"nc {address} {PORT} </tmp/sent; sha256sum </tmp/sent"
    theirs, ours = sender.guest.run(send, timeout=120, check=True).output.splitlines()
    assert theirs == ours


def test_interrupts_are_held_back(ends: dict[str, Nic], end: Nic) -> None:
    """Both kinds and a queue of its own; frames arrive all the same."""
    other = next(one for one in ends.values() if one is not end)
    ethtool(end, "-C", "rx-usecs 500 rx-frames 8 tx-usecs 300 tx-frames 16")
    assert shown(ethtool(end, "-c"))["rx-usecs"] == "500"
    ethtool(end, "--per-queue", "queue_mask 0x1 --coalesce rx-usecs 200 rx-frames 2")
    ping = other.guest.run(f"ping -c 5 -i 0.2 {end.address}", check=True).output
    assert " 0% packet loss" in ping
    transfer(other, end, end.address)
    ethtool(end, "-C", "rx-usecs 0 rx-frames 0 tx-usecs 0 tx-frames 1")
