"""The guests' whole userland: busybox, modules, iperf3, lspci, ethtool and two small scripts, as one archive."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from softdpu.lab import cpio, guest_init
from softdpu.lab.prefix import LIBRARIES, LOADER, Prefix

PROGRAMS = (("iperf3", "lspci"), ("ethtool",))
"""Programs that guests get besides busybox, with the libraries they load: of QEMU's prefix, and of that of tools."""

LOADED_LATE = ("libgcc_s.so.1",)
"""What glibc loads only when a thread is cancelled, as iperf3 does at its end."""


def recipe() -> str:
    """Names the contents that this module gives to guests; changes when they do."""
    text = "\0".join((guest_init.INIT, guest_init.AGENT, guest_init.VIRTIO, *sum(PROGRAMS, ()), *LOADED_LATE))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def build(prefixes: tuple[Prefix, Prefix], kernel: Path, release: str) -> bytes:
    """The archive for one kernel, whose modules lie in `kernel`/modules; `prefixes` are those of PROGRAMS."""
    entries = [*_skeleton(), *_busybox(prefixes[0]), *_programs(prefixes), *_modules(kernel, release)]
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
        if applet not in ("busybox", "init", *sum(PROGRAMS, ())):
            yield cpio.symlink(f"bin/{applet}", "busybox")


def _programs(prefixes: tuple[Prefix, Prefix]) -> Iterator[cpio.Entry]:
    whence = [(prefix, program) for prefix, programs in zip(prefixes, PROGRAMS, strict=True) for program in programs]
    libraries = {library.name: library for prefix, program in whence for library in prefix.libraries_of(program)}
    libraries |= {name: prefixes[0].root / LIBRARIES / name for name in LOADED_LATE}
    for name, library in sorted(libraries.items()):
        yield cpio.file(f"{LIBRARIES}/{name}", library.read_bytes(), 0o755)
    yield cpio.file(LOADER, (prefixes[0].root / LOADER).read_bytes(), 0o755)
    for name, target in (("lib", "usr/lib"), ("lib64", "usr/lib64")):
        yield cpio.symlink(name, target)
    for prefix, program in whence:
        yield cpio.file(f"usr/bin/{program}", (prefix.root / "usr/bin" / program).read_bytes(), 0o755)


def _modules(kernel: Path, release: str) -> Iterator[cpio.Entry]:
    folder = f"usr/lib/modules/{release}"
    yield cpio.file(f"{folder}/modules.dep", (kernel / "modules.dep").read_bytes())
    for module in sorted((kernel / "modules").glob("*.ko")):
        yield cpio.file(f"{folder}/{module.name}", module.read_bytes())
