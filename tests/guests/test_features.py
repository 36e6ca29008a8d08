"""What stock drivers make of the features: they see them, they use them, and with any of them off no byte is lost."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from softdpu.spec import features as f
from tests.guests.bench import Bench, Nic
from tests.guests.ends import ADDRESSES, KERNELS, ON, Ends, ethtool, shown

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]

PORT = 9000
SHOWN = (
    "tx-checksum-ip-generic",
    "tx-tcp-segmentation",
    "tx-tcp-ecn-segmentation",
    "tx-tcp6-segmentation",
    "tx-udp-segmentation",
    "rx-gro-hw",
    "rx-checksumming",
    "rx-vlan-filter",
)
# What is turned off, one after the other, at both ends; "gso" and "sg" take what builds on them along.
OFF = ("", "tso", "rx-gro-hw", "gso", "tx", "sg")
LONG = ("", "gso")  # what leaves long frames long: with "gso" off the kernel still passes on segments of TCP
# What the device offers by default and these drivers do not take: Linux has no use for them.
NOT_TAKEN = {f.NET_CTRL_RX_EXTRA, f.NOTIFICATION_DATA, f.IN_ORDER, f.ANY_LAYOUT}
RECEIVE, CONTROL = (0, 2), 4


@pytest.fixture(scope="module")
def ends(bench: Bench) -> Iterator[Ends]:
    with Ends(bench) as ends:
        yield ends


@pytest.fixture(autouse=True)
def as_it_was(ends: Ends) -> None:
    """Each test finds both guests as the first one did."""
    ends.restore()


@pytest.fixture(params=KERNELS)
def end(request: pytest.FixtureRequest, ends: Ends) -> Nic:
    """The guest of each kernel in turn."""
    return ends[request.param]


def of_receive_queues(bench: Bench, end: Nic, counter: str) -> int:
    counted = bench.dpu.counters(end.device)
    return sum(counted[f"queue{queue}_{counter}"] for queue in RECEIVE)


def test_features_are_seen(end: Nic) -> None:
    seen = shown(ethtool(end, "-k"))
    assert {name: seen[name] for name in SHOWN} == dict.fromkeys(SHOWN, "on")
    assert shown(ethtool(end, "-l"))["Combined"] == "2"
    table = ethtool(end, "-x")
    assert len(re.findall(r"^\s*\d+:((?:\s+\d+)+)$", table, re.MULTILINE)) == 128 // 8
    assert re.search(r"^([0-9a-f]{2}:){39}[0-9a-f]{2}$", table, re.MULTILINE)
    assert shown(table)["toeplitz"] == "on"
    assert "cq_hw_command_num" in shown(ethtool(end, "-S"))


def test_what_is_offered_is_taken(bench: Bench, end: Nic) -> None:
    """Also what ethtool has no word for, such as GUEST_HDRLEN."""
    query = bench.dpu.query(end.device)
    left = {int(bit) for bit in query["device_features"].keys() - query["driver_features"].keys()}
    assert left <= NOT_TAKEN, [f.name_of(bit) for bit in sorted(left - NOT_TAKEN)]


@pytest.mark.parametrize(("weights", "queue"), [("0 1", 1), ("1 0", 0)])
def test_traffic_arrives_on_the_queue_of_the_table(
    bench: Bench, ends: Ends, end: Nic, weights: str, queue: int
) -> None:
    other = ends.other(end)
    ethtool(end, "-L", "combined 2")
    ethtool(end, "-X", f"weight {weights}")
    before = bench.dpu.counters(end.device)
    ping = other.guest.run(f"ping -c 5 -i 0.2 {end.address}", check=True).output
    ping6 = other.guest.run(f"ping -c 5 -i 0.2 {ADDRESSES['IPv6'].format(end.address[-1])}", check=True).output
    after = bench.dpu.counters(end.device)
    arrived = [after[f"queue{number}_frames"] - before[f"queue{number}_frames"] for number in RECEIVE]
    assert " 0% packet loss" in ping and " 0% packet loss" in ping6
    assert arrived[queue] >= 10


def test_hashes_are_taken_by_the_driver(ends: Ends, end: Nic) -> None:
    ethtool(end, "-K", "rxhash on")
    assert shown(ethtool(end, "-k"))["receive-hashing"] == "on"
    transfer(ends.other(end), end, end.address)


@pytest.mark.parametrize("off", OFF)
def test_no_byte_is_lost(bench: Bench, ends: Ends, off: str) -> None:
    """Over IPv4, IPv6 and a VLAN, both ways, while both ends have something turned off.

    Long frames pass whole between guests that take them: of no receiver that has said it does not.
    """
    for end in ends.both():
        ethtool(end, "-K", f"{off} off" if off else ON)
    before = [of_receive_queues(bench, end, "gso_frames") for end in ends.both()]
    for address in ADDRESSES.values():
        for sender in ends.both():
            receiver = ends.other(sender)
            transfer(sender, receiver, address.format(receiver.address[-1]))
    for end, then in zip(ends.both(), before, strict=True):
        assert bench.dpu.counters(end.device)["drop_bad_header"] == 0
        assert (of_receive_queues(bench, end, "gso_frames") > then) == (off in LONG)


def test_congestion_is_told_in_long_frames(ends: Ends) -> None:
    """TCP with ECN, whose segments are cut with their flags (HOST_ECN, GUEST_ECN)."""
    for end in ends.both():
        end.guest.run("sysctl -qw net.ipv4.tcp_ecn=1", check=True)
    one, other = ends.both()
    transfer(one, other, other.address)
    ethtool(one, "-K", "rx-gro-hw off")
    transfer(other, one, one.address)


def transfer(sender: Nic, receiver: Nic, address: str) -> None:
    """A file from one guest to the other: what arrives has the checksum of what was sent."""
    receiver.guest.run(f"setsid nc -l -p {PORT} -e sha256sum >/dev/null 2>&1 & sleep 0.1", check=True)
    receiver.guest.wait_for(f"netstat -ltn | grep :{PORT}", interval=0.05)
    send = f"nc {address} {PORT} </tmp/sent; sha256sum </tmp/sent"
    theirs, ours = sender.guest.run(send, timeout=120, check=True).output.splitlines()
    assert theirs == ours


def test_interrupts_are_held_back(ends: Ends, end: Nic) -> None:
    """Both kinds and a queue of its own; frames arrive all the same."""
    ethtool(end, "-C", "rx-usecs 500 rx-frames 8 tx-usecs 300 tx-frames 16")
    assert shown(ethtool(end, "-c"))["rx-usecs"] == "500"
    ethtool(end, "--per-queue", "queue_mask 0x1 --coalesce rx-usecs 200 rx-frames 2")
    transfer(ends.other(end), end, end.address)


def test_the_driver_shows_the_numbers_of_the_operator(bench: Bench, ends: Ends, end: Nic) -> None:
    """``ethtool -S`` and ``virtnet stats`` have the same of each queue, once nothing is on its way."""
    ethtool(end, "-L", "combined 2")
    transfer(ends.other(end), end, end.address)
    transfer(end, ends.other(end), ends.other(end).address)
    theirs, ours = numbers(bench, end)
    assert theirs["rx0_hw_packets"] + theirs["rx1_hw_packets"] > 100
    assert theirs["tx0_hw_gso_packets_noseg"] + theirs["tx1_hw_gso_packets_noseg"] > 0
    for queue in ours:
        kind, pair = ("tx" if queue["VQ Index"] % 2 else "rx"), queue["VQ Index"] // 2
        frames = sum(count for name, count in queue.items() if name.endswith("_octet_packets"))
        assert theirs[f"{kind}{pair}_hw_packets"] == frames - queue["drops"]["unsent"]
        assert theirs[f"{kind}{pair}_hw_notifications"] == int(queue["handler_schd_number"])
        if not queue["drops"]["unsent"]:
            assert theirs[f"{kind}{pair}_hw_bytes"] == int(queue["total_bytes"])
    counted = bench.dpu.counters(end.device)
    assert theirs["cq_hw_command_num"] == counted[f"queue{CONTROL}_commands"]
    assert theirs["cq_hw_ok_num"] == counted[f"queue{CONTROL}_commands_ok"]
    for pair in range(2):
        assert theirs[f"rx{pair}_hw_needs_csum"] == counted[f"queue{2 * pair}_needs_csum"]
        assert theirs[f"tx{pair}_hw_interrupts"] == counted[f"queue{2 * pair + 1}_interrupts"]


def numbers(bench: Bench, end: Nic) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """The driver's and the operator's, at a moment when nothing is counted between the two looks."""
    while True:
        before = frame_counters(bench, end)
        theirs = {name: int(value) for name, value in shown(ethtool(end, "-S")).items() if value.isdigit()}
        stats = bench.dpu.virtnet("stats", "-p", end.device.pf).json["device"]["queues-stats"]
        if frame_counters(bench, end) == before:
            return theirs, [queue for queue in stats if queue["VQ Index"] < CONTROL]


def frame_counters(bench: Bench, end: Nic) -> dict[str, int]:
    """All but those of the control queue, by which the driver asks."""
    counted = bench.dpu.counters(end.device)
    return {name: count for name, count in counted.items() if name.startswith(("queue0", "queue1", "queue2", "queue3"))}
