"""Frames both ways while something happens to what carries them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.guests.bench import Bench, Nic


@contextmanager
def traffic(bench: Bench, nic: Nic) -> Iterator[None]:
    """A hundred pings a second from the guest, and from the representor."""
    out = nic.guest.begin(f"while :; do ping -i 0.01 -W 1 -c 100 {nic.gateway}; done")
    command = ["ip", "netns", "exec", bench.dpu.netns, str(bench.busybox), "ping", "-i", "0.01", nic.address]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as back:
        try:
            yield
        finally:
            back.kill()
            out.kill()
