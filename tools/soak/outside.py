"""The network that two DPUs have as their uplink, and what talks there with a guest that moves between them."""

import contextlib
import itertools
import os
import re
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from softdpu.lab import Guest
from tests.dpu_under_test import Dpu, in_namespace

ADDRESS, GUEST = "198.18.200.1", "198.18.200.2"
FROM_GUEST, TO_GUEST, IPERF = 9000, 9001, 5201  # ports
ETH_P_ARP, ETH_P_RARP = 0x0806, 0x8035
PACE: Final = 0.005  # s between two pieces of what is sent to the guest
LINES: Final = 200  # of a piece
PATIENCE: Final = 90.0  # s: TCP waits long between its tries when much was lost
INTERVAL: Final = re.compile(r"\[(?P<way>[TR]X)-S\]\s+\S+\s+sec\s+(?P<count>[\d.]+) (?P<unit>[KMG]?)Bytes")
UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
CHECK: Final = """\
$1 != NR { print NR, $1 > "/tmp/wrong"; exit }
NR % 500 == 0 { print NR > "/tmp/heard"; close("/tmp/heard") }"""


class Silent(Exception):
    """A connection of the guest's that carries nothing any more, or what was not sent."""


class Outside:
    """A bridge in a namespace of its own, and a station there. Use as a context manager."""

    def __init__(self) -> None:
        self.name = f"out-{os.getpid()}"

    def __enter__(self) -> Self:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.ip("link", "add", "br0", "type", "bridge")
        self.ip("addr", "add", f"{ADDRESS}/24", "dev", "br0")
        self.ip("link", "set", "br0", "up")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def ip(self, *words: str) -> None:
        """``ip`` in the namespace."""
        subprocess.run(["ip", "-n", self.name, *words], check=True, capture_output=True)

    def cable(self, dpu: Dpu, number: int) -> None:
        """From the network to a DPU's port, which is called up0 there."""
        dpu.ip("link", "add", "up0", "type", "veth", "peer", "name", f"port{number}", "netns", self.name)
        dpu.ip("link", "set", "up0", "up")
        self.ip("link", "set", f"port{number}", "master", "br0", "up")

    def listener(self, port: int) -> socket.socket:
        """A socket that listens there."""
        made = in_namespace(self.name, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((ADDRESS, port))
        made.listen(1)
        return made


class Announcements:
    """Counts what a station sends to say where it is: ARP for itself, or a RARP in its name."""

    def __init__(self, outside: Outside, mac: bytes) -> None:
        self.mac = mac
        self._sockets = [self._heard(outside, protocol) for protocol in (ETH_P_ARP, ETH_P_RARP)]

    @staticmethod
    def _heard(outside: Outside, protocol: int) -> socket.socket:
        made = in_namespace(
            outside.name, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        )
        made.bind(("br0", protocol))
        return made

    def forget(self) -> None:
        """What has been heard so far does not count."""
        while self._next(0) is not None:
            pass

    def heard(self, timeout: float = PATIENCE) -> bool:
        """Whether one comes, or has come since the last look."""
        deadline = time.monotonic() + timeout
        while (frame := self._next(max(0.0, deadline - time.monotonic()))) is not None:
            if is_announcement(frame, self.mac):
                return True
        return False

    def _next(self, timeout: float) -> bytes | None:
        ready = select.select(self._sockets, [], [], timeout)[0]
        return bytes(ready[0].recv(2048)) if ready else None

    def close(self) -> None:
        """Listens no more."""
        for each in self._sockets:
            each.close()


def is_announcement(frame: bytes, mac: bytes) -> bool:
    """A gratuitous ARP of the guest's, or a RARP in its name."""
    kind, sender, target = frame[12:14], frame[28:32], frame[38:42]
    return frame[6:12] == mac and (kind == b"\x80\x35" or (kind == b"\x08\x06" and sender == target))


class FromGuest:
    """A TCP connection on which the guest sends the numbers 1, 2, 3 …, a line each; any other line ends it."""

    def __init__(self, outside: Outside) -> None:
        self.lines = 0
        self.wrong = ""
        self._listener = outside.listener(FROM_GUEST)
        self._longest = 0.0
        self._last = 0.0
        threading.Thread(target=self._serve, daemon=True).start()

    command = f"seq 1 999999999 | nc {ADDRESS} {FROM_GUEST}"

    def _serve(self) -> None:
        with contextlib.suppress(OSError), self._listener, self._listener.accept()[0] as connection:
            rest = b""
            while data := connection.recv(1 << 16):
                self._timed()
                *lines, rest = (rest + data).split(b"\n")
                if lines != [b"%d" % number for number in range(self.lines + 1, self.lines + 1 + len(lines))]:
                    break
                self.lines += len(lines)
        self.wrong = f"the guest's connection ended after line {self.lines}"

    def _timed(self) -> None:
        now = time.monotonic()
        if self._last:
            self._longest = max(self._longest, now - self._last)
        self._last = now

    def longest_silence(self) -> float:
        """In s, since this was asked last."""
        found, self._longest = self._longest, 0.0
        return found

    def goes_on(self) -> None:
        """More comes. Raises Silent."""
        before = self.lines
        _until(lambda: bool(self.wrong) or self.lines > before, f"nothing after line {before} from the guest")
        if self.wrong:
            raise Silent(self.wrong)

    def close(self) -> None:
        """No server any more; a connection goes on until the guest ends it."""
        _closed(self._listener)


class ToGuest:
    """A TCP connection on which the guest gets such lines and checks them: they come by memory that moves with it."""

    def __init__(self, outside: Outside) -> None:
        self._listener = outside.listener(TO_GUEST)
        self._ended = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    command = f"nc {ADDRESS} {TO_GUEST} | awk '{CHECK}'"

    def _serve(self) -> None:
        numbers = itertools.count(1)
        with contextlib.suppress(OSError), self._listener, self._listener.accept()[0] as connection:
            while not self._ended.wait(PACE):
                connection.sendall(b"".join(b"%d\n" % number for number in itertools.islice(numbers, LINES)))

    def goes_on(self, guest: Guest) -> None:
        """More comes, and all of it was right. Raises Silent."""
        before = self.heard(guest)
        _until(lambda: self.heard(guest) > before, f"the guest has heard nothing after line {before}")

    def heard(self, guest: Guest) -> int:
        """Lines that the guest has found to be right. Raises Silent when one was not."""
        said = guest.run("cat /tmp/wrong 2>/dev/null || cat /tmp/heard 2>/dev/null").output.split()
        if len(said) > 1:
            raise Silent(f"in place of line {said[0]} the guest got {said[1]}")
        return int(said[0]) if said else 0

    def close(self) -> None:
        """No more lines."""
        self._ended.set()
        _closed(self._listener)


class Iperf:
    """iperf3, both ways at once, as long as it may."""

    command = f"iperf3 -c {ADDRESS} -p {IPERF} -t 86400 --bidir"

    def __init__(self, outside: Outside, log: Path) -> None:
        self._log = log
        words = ["ip", "netns", "exec", outside.name, "iperf3", "-s", "-1", "-p", str(IPERF), "-i", "1", "--forceflush"]
        with log.open("wb") as out:
            self._server = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT)

    def moved(self) -> dict[str, float]:
        """Bytes so far: RX is what came from the guest, TX what was sent to it."""
        total = {"RX": 0.0, "TX": 0.0}
        for line in self._log.read_text().splitlines():
            if (found := INTERVAL.search(line)) and "receiver" not in line and "sender" not in line:
                total[found["way"]] += float(found["count"]) * UNITS[found["unit"]]
        return total

    def goes_on(self) -> None:
        """More has moved, both ways. Raises Silent."""
        before = self.moved()

        def more() -> bool:
            now = self.moved()
            return self._server.poll() is not None or all(now[way] > before[way] for way in before)

        _until(more, f"iperf3 stands still at {before}")
        if self._server.poll() is not None:
            raise Silent(f"iperf3 has ended: {self._log.read_text()[-500:]}")

    def close(self) -> None:
        """No server any more."""
        self._server.kill()
        self._server.wait()


class Talk:
    """All that goes on between the guest and the outside while it moves. Use as a context manager."""

    def __init__(self, outside: Outside, mac: bytes, folder: Path) -> None:
        with ExitStack() as stack:
            self.announcements = Announcements(outside, mac)
            stack.callback(self.announcements.close)
            self.out, self.back = FromGuest(outside), ToGuest(outside)
            stack.callback(self.out.close)
            stack.callback(self.back.close)
            self.iperf = Iperf(outside, folder / f"iperf-{mac.hex()}.log")
            stack.callback(self.iperf.close)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, guest: Guest) -> None:
        """The guest takes part."""
        guest.run(f"ip addr add {GUEST}/24 dev eth0 && ip link set eth0 up", check=True)
        guest.wait_for(f"ping -c 1 -W 1 {ADDRESS}")
        for command in (self.out.command, self.back.command, f"{self.iperf.command} >/tmp/iperf.log 2>&1"):
            guest.begin(command)

    def hush(self, guest: Guest) -> None:
        """The guest says no more of its own accord."""
        guest.run("killall seq nc awk iperf3")

    def goes_on(self, guest: Guest) -> None:
        """Each connection carries more, and nothing wrong. Raises Silent."""
        self.out.goes_on()
        self.back.goes_on(guest)
        self.iperf.goes_on()


def _closed(listener: socket.socket) -> None:
    """It listens no more, although a thread may wait in it."""
    with contextlib.suppress(OSError):  # it has gone with its one connection
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Silent(what)
        time.sleep(0.05)
