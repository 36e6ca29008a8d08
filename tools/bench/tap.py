"""To a tap and from a tap: guest, representor, Linux bridge, representor, guest. With 64 KB GSO frames, and without."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from softdpu.fabric.tap import open_tap
from tools.bench.backends import memory, turn
from tools.bench.ours import Ours
from tools.bench.pairs import Comparison, Run, in_turn
from tools.bench.rows import TAP
from tools.bench.windows import LAYOUTS, mpps

RING = 256
PLAIN, WHOLE = 1514, 65226  # bytes of a frame: one segment, and 45 of 1448
TAPS = ("bench0", "bench1")
CLONE_NEWNET = 0x40000000


def rows() -> Iterator[Comparison]:
    """Both layouts."""
    with memory(), _bridged() as taps, Ours(taps, queue_size=RING) as ours:
        for layout, options in LAYOUTS.items():
            values = in_turn({"plain": _run(ours, PLAIN, options), "whole": _run(ours, WHOLE, options)})
            yield TAP.comparison(layout, values["plain"], values["whole"])


def _run(ours: Ours, octets: int, options: tuple[str, ...]) -> Run:
    def once() -> float:
        with turn(ours):
            rate = mpps(ours, "--octets", octets, "--ring", RING, *options)
        return rate * octets * 8 / 1e3

    return once


@contextmanager
def _bridged() -> Iterator[tuple[int, ...]]:
    """Two taps in a bridge, in a namespace of their own; their descriptors."""
    name = f"softdpu-bench-{os.getpid()}"
    with ExitStack() as cleanup:
        _ip("netns", "add", name)
        cleanup.callback(_ip, "netns", "del", name)
        for which in ("all", "default"):  # nobody but the driver sends: it looks at what comes first
            _ip("netns", "exec", name, "sysctl", "-qw", f"net.ipv6.conf.{which}.disable_ipv6=1")
        _ip("-n", name, "link", "add", "bridge", "type", "bridge", "mcast_snooping", "0")
        descriptors = _in_namespace(name)
        for descriptor in descriptors:
            cleanup.callback(os.close, descriptor)
        for tap in TAPS:
            _ip("-n", name, "link", "set", tap, "master", "bridge", "up", "txqueuelen", "10000")
        _ip("-n", name, "link", "set", "bridge", "up")
        yield descriptors


def _in_namespace(name: str) -> tuple[int, ...]:
    """The taps, opened there; this thread comes back."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as here, Path(f"/run/netns/{name}").open("rb") as there:
        _enter(libc, there.fileno())
        try:
            return tuple(open_tap(tap) for tap in TAPS)
        finally:
            _enter(libc, here.fileno())


def _enter(libc: ctypes.CDLL, namespace: int) -> None:
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
