"""Checksum and segmentation left undone between a stock guest and its representor or another (virtio 1.3 §5.1.6.2)."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest

from softdpu.lab import Guest
from tests.guests.bench import Bench, Nic
from tests.guests.conftest import Boot

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]

SIZE = 16 << 20
PORT = 9000
LONGEST_SEGMENT = 1514
# What the driver of a stock guest is told to leave out, as module parameters: see drivers/net/virtio_net.c.
PARAMETERS = ["", "gso=0", "csum=0 gso=0"]


def transfer(sender: Guest, receiver: Guest, address: str) -> None:
    """A file from one guest to another: what arrives has the checksum of what was sent."""
    receiver.begin(f"nc -l -p {PORT} -e sha256sum")
    receiver.wait_for(f"netstat -ltn | grep :{PORT}")
    send = f"head -c {SIZE} /dev/urandom >/tmp/sent; nc {address} {PORT} </tmp/sent; sha256sum </tmp/sent; rm /tmp/sent"
    theirs, ours = sender.run(send, timeout=120, check=True).output.splitlines()
    assert theirs == ours


def to_representor(bench: Bench, nic: Nic, folder: Path) -> None:
    """A file from the guest to its representor, and back."""
    nc = [*inside(bench), str(bench.busybox), "nc"]
    stored, back = folder / "there", folder / "back"
    nic.guest.run(f"head -c {SIZE} /dev/urandom >/tmp/sent", check=True)
    with stored.open("wb") as file, subprocess.Popen([*nc, "-l", "-p", str(PORT)], stdin=PIPE, stdout=file) as server:
        nic.guest.run(f"sleep 0.5; nc {nic.gateway} {PORT} </tmp/sent", timeout=120, check=True)
        server.wait(10)
    nic.guest.begin(f"nc -l -p {PORT} -e cat /tmp/sent")
    nic.guest.wait_for(f"netstat -ltn | grep :{PORT}")
    with back.open("wb") as file, subprocess.Popen([*nc, nic.address, str(PORT)], stdin=PIPE, stdout=file) as client:
        client.wait(120)
    assert stored.stat().st_size == SIZE
    assert stored.read_bytes() == back.read_bytes()
    said = nic.guest.run("sha256sum </tmp/sent; rm /tmp/sent", check=True).output
    assert said.split()[0] == hashlib.sha256(stored.read_bytes()).hexdigest()


def inside(bench: Bench) -> list[str]:
    """The beginning of a command that runs where the representors are."""
    return ["ip", "netns", "exec", bench.dpu.netns]


@contextmanager
def iperf_server(bench: Bench) -> Iterator[None]:
    """A server beside the representors, for one run."""
    with subprocess.Popen(
        [*inside(bench), "iperf3", "-s", "-1", "--forceflush"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        while "listening" not in server.stdout.readline():
            assert server.poll() is None
        try:
            yield
        finally:
            server.terminate()


def iperf(bench: Bench, nic: Nic, way: str) -> float:
    """Mbit/s in a run from the guest, or to it with -R."""
    with iperf_server(bench):
        done = nic.guest.run(f"iperf3 -c {nic.gateway} -t 3 {way} -J", timeout=60, check=True)
    speed = float(json.loads(done.output)["end"]["sum_received"]["bits_per_second"]) / 1e6
    print(f"{nic.device.vuid} {way or 'out'}: {speed:.0f} Mbit/s")
    return speed


def reload(guest: Guest, parameters: str) -> None:
    """Gives the guest's driver other parameters."""
    guest.run(f"rmmod virtio_net && modprobe virtio_net {parameters}", check=True)


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "modern"])
def test_representor(bench: Bench, boot: Boot, legacy: bool, tmp_path: Path) -> None:
    guest = boot("6.12", legacy=legacy, root_ports=1)
    nic = bench.configure(guest, device := bench.hotplug(guest))
    longest = {}
    for parameters in PARAMETERS:
        if parameters:
            reload(guest, parameters)
            nic = bench.configure(guest, device)
        to_representor(bench, nic, tmp_path)
        before = bench.dpu.counters(device)
        iperf(bench, nic, "")
        after = bench.dpu.counters(device)
        frames = after["representor_out_frames"] - before["representor_out_frames"]
        longest[parameters] = (after["representor_out_octets"] - before["representor_out_octets"]) / frames
        iperf(bench, nic, "-R")
    assert longest[""] > 4 * LONGEST_SEGMENT
    assert longest["gso=0"] <= LONGEST_SEGMENT
    assert bench.dpu.counters(device)["drop_bad_header"] == 0


@pytest.mark.parametrize("legacy", [(True, False), (False, False)], ids=["legacy-modern", "modern"])
def test_two_guests(bench: Bench, boot: Boot, legacy: tuple[bool, bool]) -> None:
    one, other = (boot(kernel, legacy=old, root_ports=1) for kernel, old in zip(("6.12", "6.1"), legacy, strict=True))
    devices = [bench.hotplug(one), bench.hotplug(other)]
    for parameters in PARAMETERS:
        if parameters:
            reload(one, parameters)
        for host, (guest, device) in enumerate(zip((one, other), devices, strict=True), start=2):
            if not (parameters and guest is other):
                bench.configure(guest, device, "192.0.2", host)
        transfer(one, other, "192.0.2.3")
        transfer(other, one, "192.0.2.2")
    for device in devices:
        assert bench.dpu.counters(device)["drop_bad_header"] == 0
