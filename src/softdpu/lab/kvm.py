"""Whether KVM on this machine runs stock kernels: found out by booting one, since some that look like KVM do not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path

from softdpu.lab import channel
from softdpu.lab.build import Lab
from softdpu.lab.machine import Accelerator, Machine, serial

_TRIAL = Machine(kernel="6.1", cmdline="lab.modules=none")
# Where KVM runs this kernel at all, it takes one second.
_TRIAL_SECONDS = 12.0


def accelerator(lab: Lab) -> Accelerator:
    """KVM where a trial boot succeeds, else TCG; the answer is kept in the lab's cache until the machine reboots."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    memo = lab.cache / "kvm.json"
    identity = _identity(lab)
    try:
        known = json.loads(memo.read_text())
    except (OSError, ValueError):
        known = {}
    if known.get("identity") != identity:
        known = {"identity": identity, "works": boots(lab, "kvm")}
        _write(memo, json.dumps(known))
    return "kvm" if known["works"] else "tcg"


def boots(lab: Lab, accelerator: Accelerator, seconds: float = _TRIAL_SECONDS) -> bool:
    """Whether a stock kernel under this accelerator comes as far as its userland within `seconds`."""
    ours, theirs = socket.socketpair()
    command = lab.prefix.qemu(*_TRIAL.arguments(lab, accelerator), "-serial", "null", *serial("agent", theirs.fileno()))
    with (
        ours,
        subprocess.Popen(
            command,
            env=lab.prefix.environment(),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        theirs.close()
        try:
            return _greeted(ours, time.monotonic() + seconds)
        finally:
            process.kill()


def _greeted(agent: socket.socket, deadline: float) -> bool:
    replies = channel.Replies()
    while (left := deadline - time.monotonic()) > 0:
        agent.settimeout(left)
        try:
            data = agent.recv(4096)
        except TimeoutError:
            return False
        if not data:
            return False
        if any(isinstance(reply, channel.Hello) for reply in replies.feed(data)):
            return True
    return False


def _identity(lab: Lab) -> list[object]:
    """Changes when the answer may: at a reboot, with another /dev/kvm, another QEMU or another kernel."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    stamps = [(lab.cache / part / "stamp.json").stat().st_mtime_ns for part in ("qemu", f"kernel-{_TRIAL.kernel}")]
    return [boot, Path("/dev/kvm").stat().st_rdev, *stamps]


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.rename(path)
