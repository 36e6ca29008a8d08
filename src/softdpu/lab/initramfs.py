"""The guests' whole userland: busybox, the kernel's modules, iperf3, lspci and two small scripts, as one archive."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from softdpu.lab import cpio, guest_init
from softdpu.lab.prefix import LIBRARIES, LOADER, Prefix

PROGRAMS = ("iperf3", "lspci")
"""Programs of the prefix that guests get besides busybox, with the libraries they load."""

LOADED_LATE = ("libgcc_s.so.1",)
"""What glibc loads only when a thread is cancelled, as iperf3 does at its end."""


def recipe() -> str:
    """Names the contents that this module gives to guests; changes when they do."""
    text = "\0".join((guest_init.INIT, guest_init.AGENT, guest_init.VIRTIO, *PROGRAMS, *LOADED_LATE))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def build(prefix: Prefix, kernel: Path, release: str) -> bytes:
    """The archive for one kernel, whose modules lie in `kernel`/modules."""
    entries = [*_skeleton(), *_busybox(prefix), *_programs(prefix), *_modules(kernel, release)]
    return cpio.archive(cpio.with_parents(entries))


def _skeleton() -> Iterator[cpio.Entry]:
    for name in ("dev", "proc", "sys", "tmp", "run", "root", "sbin", "bin", "etc", "usr/bin"):
        yield cpio.directory(name)
    # Opened by the kernel for init before devtmpfs is mounted.
    yield cpio.character_device("dev/console", 5, 1)
    yield cpio.file("init", guest_init.INIT.encode(), 0o755)
    yield cpio.file("bin/agent", guest_init.AGENT.encode(), 0o755)
    yield cpio.file("bin/virtio", guest_init.VIRTIO.encode(), 0o755)


def _busybox(prefix: Prefix) -> Iterator[cpio.Entry]:
    """busybox with its applets as links: installing them at each boot would cost seconds under emulation."""
    program = prefix.root / "usr/bin/busybox"
    yield cpio.file("bin/busybox", program.read_bytes(), 0o755)
    applets = subprocess.run([str(program), "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet not in ("busybox", "init", *PROGRAMS):
            yield cpio.symlink(f"bin/{applet}", "busybox")


def _programs(prefix: Prefix) -> Iterator[cpio.Entry]:
    libraries = {library for program in PROGRAMS for library in prefix.libraries_of(program)}
    libraries |= {prefix.root / LIBRARIES / name for name in LOADED_LATE}
    for library in sorted(libraries):
        yield cpio.file(f"{LIBRARIES}/{library.name}", library.read_bytes(), 0o755)
    yield cpio.file(LOADER, (prefix.root / LOADER).read_bytes(), 0o755)
    for name, target in (("lib", "usr/lib"), ("lib64", "usr/lib64")):
        yield cpio.symlink(name, target)
    for program in PROGRAMS:
        yield cpio.file(f"usr/bin/{program}", (prefix.root / "usr/bin" / program).read_bytes(), 0o755)


def _modules(kernel: Path, release: str) -> Iterator[cpio.Entry]:
    folder = f"usr/lib/modules/{release}"
    yield cpio.file(f"{folder}/modules.dep", (kernel / "modules.dep").read_bytes())
    for module in sorted((kernel / "modules").glob("*.ko")):
        yield cpio.file(f"{folder}/{module.name}", module.read_bytes())
