"""QEMU and a few programs of another Debian, unpacked beside the machine's own and run by their own loader."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from softdpu.lab import progress
from softdpu.lab.errors import LabError

QEMU = "qemu-system-x86"
PACKAGES = (QEMU, "iperf3", "pciutils", "busybox-static")
TOOLS = ("ethtool",)  # more for guests, in a tree of their own
LIBRARIES = "usr/lib/x86_64-linux-gnu"
LOADER = "usr/lib64/ld-linux-x86-64.so.2"

_KEPT = (
    "usr/bin/qemu-system-x86_64", "usr/bin/iperf3", "usr/bin/lspci", "usr/bin/busybox",
    "usr/bin/ethtool",
    LIBRARIES, "usr/lib64", "usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe",
)  # fmt: skip
_DROPPED = ("gconv", "perl-base", "security", "audit", "ossl-modules", "engines-3")


class Prefix:
    """A folder with a Debian file tree in it, of which programs run without being installed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def command(self, program: str, *arguments: str) -> list[str]:
        """The command line that runs `usr/bin/PROGRAM` of this tree with its own loader and libraries."""
        libraries = self.root / LIBRARIES
        loader = [str(self.root / LOADER), "--argv0", program, "--library-path", f"{libraries}:{libraries}/pulseaudio"]
        return [*loader, str(self.root / "usr/bin" / program), *arguments]

    def qemu(self, *arguments: str) -> list[str]:
        """The command line that runs QEMU with its own firmware."""
        firmware = (f for folder in ("qemu", "seabios") for f in ("-L", str(self.root / "usr/share" / folder)))
        return self.command("qemu-system-x86_64", *firmware, *arguments)

    def environment(self) -> dict[str, str]:
        """The environment for `qemu`: its loadable modules are found through it."""
        return {**os.environ, "QEMU_MODULE_DIR": str(self.root / LIBRARIES / "qemu")}

    def qemu_version(self) -> str:
        """Such as "11.1.3"; LabError if this QEMU does not run."""
        done = subprocess.run(
            self.qemu("--version"), env=self.environment(), capture_output=True, text=True, check=False
        )
        words = done.stdout.split()
        if done.returncode or len(words) < 4:
            raise LabError(f"the lab's QEMU does not run: {done.stderr.strip() or done.stdout.strip()}")
        return words[3]

    def libraries_of(self, program: str) -> list[Path]:
        """The shared libraries that a program of this tree loads, as paths in the tree."""
        listing = self.command(program)
        listing.insert(-1, "--list")
        done = subprocess.run(listing, capture_output=True, text=True, check=True)
        paths = (word for line in done.stdout.splitlines() for word in line.split() if word.startswith(str(self.root)))
        return sorted({Path(path) for path in paths if Path(path) != self.root / LOADER})


def unpack(archives: Sequence[Path], target: Path) -> None:
    """Fills `target` with what of the .deb files is needed to run the programs of PACKAGES or TOOLS."""
    tree = target / "tree"
    tree.mkdir()
    with progress.bar("unpack packages", len(archives)) as advance, ThreadPoolExecutor(2) as pool:
        for done, _ in enumerate(pool.map(lambda archive: unpack_one(archive, tree), archives), start=1):
            advance(done)
    _merge_usr(tree)
    _merge_bin(tree)
    for kept in _KEPT:
        if (tree / kept).exists():
            (target / kept).parent.mkdir(parents=True, exist_ok=True)
            (tree / kept).rename(target / kept)
    for dropped in _DROPPED:
        shutil.rmtree(target / LIBRARIES / dropped, ignore_errors=True)
    shutil.rmtree(tree)


def _merge_usr(tree: Path) -> None:
    """Up to bookworm packages have files in /lib and /lib64 too, which an installed system has as links into /usr."""
    for folder in ("lib64", "lib"):
        if (tree / folder).is_dir():
            shutil.copytree(
                tree / folder, tree / "usr" / folder, symlinks=True, dirs_exist_ok=True, copy_function=os.link
            )
            shutil.rmtree(tree / folder)


def _merge_bin(tree: Path) -> None:
    """Programs for administrators lie beside the others."""
    if (tree / "usr/sbin").is_dir():
        (tree / "usr/bin").mkdir(exist_ok=True)
        for program in (tree / "usr/sbin").iterdir():
            program.rename(tree / "usr/bin" / program.name)


def unpack_one(archive: Path, tree: Path) -> None:
    """Unpacks a .deb file; one that cannot be is removed, and LabError says so."""
    done = subprocess.run(["dpkg-deb", "-x", str(archive), str(tree)], capture_output=True, text=True, check=False)
    if done.returncode:
        archive.unlink(missing_ok=True)
        raise LabError(f"{archive.name} cannot be unpacked ({done.stderr.strip()}): it was removed, build again.")
