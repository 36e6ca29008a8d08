"""Long UDP datagrams of stock guests (HOST_USO, GUEST_USO4/6): whole to one that takes them, else cut on the way."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton
from struct import pack

import pytest

from tests.guests.bench import Bench, Nic
from tests.guests.ends import ADDRESSES, KERNELS, Ends, ethtool

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]

PROGRAM = "/tmp/datagrams"
FLAGS = ("-Os", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie", "-s")
PORT = 9001
PIECES, PIECE, SEGMENT = 4, 28000, 1400
FAMILIES = {"IPv4": AF_INET, "IPv6": AF_INET6}
# Who is told to leave off what, and whether long frames then come from the sender and reach the receiver.
CASES = {
    "whole": ("", "", True, True),
    "cut for the receiver": ("", "rx-gro-hw off", True, False),
    "cut by the sender": ("tx-udp-segmentation off", "", False, False),
}


@pytest.fixture(scope="module")
def ends(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    """Both guests; the program is written into them when they are asked for it."""
    with Ends(bench, files={PROGRAM: built(tmp_path_factory.mktemp("program"))}) as ends:
        yield ends


def built(folder: Path) -> bytes:
    """The program that sends and receives them: busybox and iperf3 have no UDP segmentation."""
    source = Path(__file__).with_name("datagrams.c")
    subprocess.run(["gcc", *FLAGS, "-o", folder / "datagrams", source], check=True)
    return (folder / "datagrams").read_bytes()


@pytest.fixture(autouse=True)
def as_it_was(ends: Ends) -> None:
    ends.restore()


def sockaddr(family: str, address: str) -> str:
    """A struct sockaddr_in or sockaddr_in6, in hexadecimal."""
    raw = inet_pton(FAMILIES[family], address)
    port = pack("<H", FAMILIES[family]) + pack(">H", PORT)
    return (port + (raw + bytes(8) if family == "IPv4" else bytes(4) + raw + bytes(4))).hex()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_long_datagrams(bench: Bench, ends: Ends, kernel: str, family: str, case: str) -> None:
    """Not a byte is lost; what was cut has checksums, by which the receiver's kernel took it."""
    sender_off, receiver_off, sent_long, got_long = CASES[case]
    sender, receiver = ends[kernel], ends.other(ends[kernel])
    for end, off in ((sender, sender_off), (receiver, receiver_off)):
        if off:
            ethtool(end, "-K", off)
    before = long_frames(bench, sender, receiver)
    pass_datagrams(sender, receiver, family)
    sent, got = (after - then for after, then in zip(long_frames(bench, sender, receiver), before, strict=True))
    assert (sent, got) == (PIECES * sent_long, PIECES * got_long)
    assert bench.dpu.counters(sender.device)["drop_bad_header"] == 0


def long_frames(bench: Bench, sender: Nic, receiver: Nic) -> tuple[int, int]:
    """Frames to be cut, that the one has sent and the other has received."""
    sent, got = bench.dpu.counters(sender.device), bench.dpu.counters(receiver.device)
    return sent["queue1_gso_frames"], got["queue0_gso_frames"]


def pass_datagrams(sender: Nic, receiver: Nic, family: str) -> None:
    any_address = sockaddr(family, {"IPv4": "0.0.0.0", "IPv6": "::"}[family])
    to = sockaddr(family, ADDRESSES[family].format(receiver.address[-1]))
    job = receiver.guest.begin(f"{PROGRAM} receive {any_address} {SEGMENT} {PIECES * PIECE} >/tmp/got")
    receiver.guest.wait_for(f"netstat -lun | grep :{PORT}", interval=0.05)
    sender.guest.run(f"head -c {PIECES * PIECE} /tmp/sent | {PROGRAM} send {to} {SEGMENT} {PIECE}", check=True)
    assert job.wait().status == 0
    theirs = receiver.guest.run("sha256sum </tmp/got", check=True).output
    assert theirs == sender.guest.run(f"head -c {PIECES * PIECE} /tmp/sent | sha256sum", check=True).output
