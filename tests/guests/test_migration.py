"""A guest moves between two DPUs under stock QEMU, over vhost-user, while its TCP connection goes on."""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from softdpu.host import vhost_user
from softdpu.lab import Guest
from tests.dpu_under_test import Dpu, Plugged, Representor, in_namespace

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]

MOVES = {"7.2": 1, "11.1": 3}
GATEWAY, ADDRESS = "198.18.200.1", "198.18.200.2"
PORT = 9000
LINE = b"y\n"


class Site:
    """A DPU, its device, and the QEMU that has the guest or waits for it."""

    def __init__(self, dpu: Dpu, device: Plugged, qemu: str) -> None:
        self.device, self.qemu = device, qemu
        words = dpu.qemu_arguments()  # of the machine's memory, which the lab has its own of, and of the device
        self.arguments = words[words.index("-chardev") :]
        if qemu == "7.2":
            now, then = f"reconnect-ms={vhost_user.RECONNECT}", "reconnect=1"
            self.arguments = [word.replace(now, then) for word in self.arguments]

    def guest(self, *more: str) -> Guest:
        """A QEMU with the device, started by hand as `softdpu qemu-args` has it."""
        return Guest("6.1", qemu=self.qemu, more=[*self.arguments, *more])


class Outside:
    """The network that both DPUs have as their uplink, and a server there that listens to one guest."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines = 0
        self.ended = False

    def ip(self, *words: str) -> None:
        subprocess.run(["ip", "-n", self.name, *words], check=True, capture_output=True)

    def cable(self, dpu: Dpu, number: int) -> None:
        """From the network to a DPU's port."""
        dpu.ip("link", "add", "up0", "type", "veth", "peer", "name", f"port{number}", "netns", self.name)
        dpu.ip("link", "set", "up0", "up")
        self.ip("link", "set", f"port{number}", "master", "br0", "up")

    def listen(self) -> threading.Thread:
        """Counts the lines of one connection; any other byte among them ends it."""
        listener = in_namespace(self.name, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        listener.bind((GATEWAY, PORT))
        listener.listen(1)
        thread = threading.Thread(target=self._count, args=(listener,), daemon=True)
        thread.start()
        return thread

    def _count(self, listener: socket.socket) -> None:
        with listener, listener.accept()[0] as connection:
            rest = b""
            while data := connection.recv(1 << 16):
                rest += data
                whole = len(rest) // len(LINE)
                if rest[: whole * len(LINE)] != LINE * whole:
                    break
                self.lines, rest = self.lines + whole, rest[whole * len(LINE) :]
        self.ended = True

    def hears_more(self) -> None:
        """The connection goes on."""
        before, deadline = self.lines, time.monotonic() + 60
        while self.lines == before:
            assert not self.ended, f"after {before} lines"
            assert time.monotonic() < deadline, f"silent after {before} lines"
            time.sleep(0.05)


@pytest.fixture
def outside() -> Iterator[Outside]:
    outside = Outside(f"out-{os.getpid()}")
    subprocess.run(["ip", "netns", "add", outside.name], check=True)
    outside.ip("link", "add", "br0", "type", "bridge")
    outside.ip("addr", "add", f"{GATEWAY}/24", "dev", "br0")
    outside.ip("link", "set", "br0", "up")
    yield outside
    subprocess.run(["ip", "netns", "del", outside.name], check=True)


@pytest.fixture
def dpus(outside: Outside) -> Iterator[list[Dpu]]:
    with contextlib.ExitStack() as stack:
        found = []
        for number in range(2):
            dpu = stack.enter_context(Dpu(uplinks={"p0": "up0"}))
            outside.cable(dpu, number)
            found.append(dpu)
        yield found
        assert [mistake for dpu in found for mistake in dpu.own_mistakes()] == []


def moved(stack: contextlib.ExitStack, source: Guest, site: Site, folder: Path) -> Guest:
    """The guest, live, over a unix socket, in another QEMU."""
    target = stack.enter_context(site.guest("-incoming", "defer"))
    uri = f"unix:{folder}/move"
    target.qmp("migrate-incoming", uri=uri)
    source.qmp("migrate", uri=uri)
    while (state := source.qmp("query-migrate"))["status"] not in ("completed", "failed", "cancelled"):
        time.sleep(0.1)
    assert state["status"] == "completed", json.dumps(state)
    target.wait_event("RESUME")
    target.continue_as(source)
    print(f"stood still for {state['downtime']} ms")
    source.stop()
    return target


@pytest.mark.parametrize("qemu", MOVES)
def test_a_guest_goes_back_and_forth_and_keeps_its_connection(
    dpus: list[Dpu], outside: Outside, tmp_path: Path, qemu: str
) -> None:
    """It moves while it sends, then once while it is quiet, so that only an announcement tells where it is."""
    vectors = 0 if qemu == "7.2" else None  # that one crashes with MSI-X where there is no KVM
    sites = [Site(dpu, dpu.hotplug(export="vhost-user", vectors=vectors), qemu) for dpu in dpus]
    assert sites[0].device.mac == sites[1].device.mac
    ways = itertools.cycle(sites[::-1])
    with contextlib.ExitStack() as stack:
        guest = stack.enter_context(sites[0].guest())
        guest.run(f"ip addr add {ADDRESS}/24 dev eth0 && ip link set eth0 up", check=True)
        guest.wait_for(f"ping -c 1 -W 1 {GATEWAY}")
        outside.listen()
        guest.begin(f"yes | nc {GATEWAY} {PORT}")
        outside.hears_more()
        for site in itertools.islice(ways, MOVES[qemu]):
            guest = moved(stack, guest, site, tmp_path)
            outside.hears_more()
        guest.run("killall yes; killall nc")
        with Representor(outside.name, "br0") as wire:
            moved(stack, guest, next(ways), tmp_path)
            while not is_announcement(wire.receive(30), sites[0].device.mac):
                pass


def is_announcement(frame: bytes, mac: bytes) -> bool:
    """A gratuitous ARP of the guest's, or a RARP in its name."""
    kind, sender, target = frame[12:14], frame[28:32], frame[38:42]
    return frame[6:12] == mac and (kind == b"\x80\x35" or (kind == b"\x08\x06" and sender == target))
