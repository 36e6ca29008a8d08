"""Commands of the simulated host that stand before the real machine's: modprobe, lsmod, dmesg, qemu and
the like.

Run by the scripts that the host installs: ``commands TREE NAME ARGUMENTS``.
"""

import errno
import os
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path

from softdpu.host.simulated import vm
from softdpu.host.simulated.modules import MODULES

FATAL = 1


def modprobe(tree: Path, words: Sequence[str]) -> int:
    """Load or remove a module, with what it needs."""
    parser = ArgumentParser("modprobe")
    parser.add_argument("-r", "--remove", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("module")
    parser.add_argument("parameters", nargs="*")
    options = parser.parse_args(words)
    before = _loaded(tree)
    try:
        if options.remove:
            _tell(tree, "unload", options.module)
        else:
            _tell(tree, "load", " ".join([options.module, *options.parameters]))
    except OSError as error:
        return _failed(tree, "modprobe", options.module, error)
    if options.verbose:
        _say(tree, before, _loaded(tree), options.parameters)
    return 0


def rmmod(tree: Path, words: Sequence[str]) -> int:
    """Remove modules."""
    return max((modprobe(tree, ["-r", word]) for word in words if not word.startswith("-")), default=0)


def lsmod(tree: Path, words: Sequence[str]) -> int:
    """Modules that are loaded; a real kernel may have none, and then no /proc/modules for the real lsmod either."""
    del words
    print(f"{'Module':<23} Size  Used by")
    for line in (tree / "proc/modules").read_text().splitlines():
        name, size, count, users, *_ = line.split()
        print(f"{name:<20} {size:>7}  {count} {users.strip('-,')}".rstrip())
    return 0


def dmesg(tree: Path, words: Sequence[str]) -> int:
    """What the simulated kernel had to say."""
    del words
    sys.stdout.write((tree / "control/log").read_text())
    return 0


def uname(tree: Path, words: Sequence[str]) -> int:
    """The simulated kernel's release; all else is the real machine's."""
    if list(words) in (["-r"], ["--kernel-release"]):
        print((tree / "control/release").read_text().strip())
        return 0
    return _real("uname", words)


def lspci(tree: Path, words: Sequence[str]) -> int:
    """The real one, without its word on modules of the real machine's kernel: it looks for those of uname -r."""
    del tree
    done = subprocess.run([_program("lspci"), *words], stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write("".join(line for line in done.stderr.splitlines(True) if "libkmod" not in line))
    return done.returncode


def virsh(tree: Path, words: Sequence[str]) -> int:
    """libvirt has no device of this kind."""
    del tree, words
    print(
        "virsh: libvirt cannot attach a transitional VF (its driver virtio_vfio_pci is unknown to it): "
        "start QEMU itself, with -device vfio-pci,host=BDF.",
        file=sys.stderr,
    )
    return FATAL


def qemu(tree: Path, words: Sequence[str]) -> int:
    """The real QEMU, with each function that a VFIO driver has on its own socket."""
    del tree
    try:
        vm.become(words)
    except vm.NotThere as error:
        print(f"qemu-system-x86_64: {error}", file=sys.stderr)
    return FATAL


COMMANDS: dict[str, Callable[[Path, Sequence[str]], int]] = {
    "modprobe": modprobe,
    "rmmod": rmmod,
    "lsmod": lsmod,
    "dmesg": dmesg,
    "uname": uname,
    "lspci": lspci,
    "virsh": virsh,
    "qemu-system-x86_64": qemu,
}


def _tell(tree: Path, what: str, line: str) -> None:
    with (tree / "control" / what).open("wb", buffering=0) as file:
        file.write(line.encode())


def _loaded(tree: Path) -> list[str]:
    lines = (tree / "proc/modules").read_text().splitlines()
    return [line.split()[0] for line in reversed(lines)]


def _say(tree: Path, before: Sequence[str], after: Sequence[str], parameters: Sequence[str]) -> None:
    release = (tree / "control/release").read_text().strip()
    for name in after:
        if name not in before:
            given = " ".join(parameters) if MODULES[name].parameters else ""
            print(f"insmod /lib/modules/{release}/kernel/{name}.ko {given}".rstrip())
    for name in reversed(before):
        if name not in after:
            print(f"rmmod {name}")


def _failed(tree: Path, command: str, module: str, error: OSError) -> int:
    release = (tree / "control/release").read_text().strip()
    said = {
        errno.ENOENT: f"FATAL: Module {module} not found in directory /lib/modules/{release}",
        errno.EBUSY: f"FATAL: Module {module} is in use.",
    }
    print(
        f"{command}: {said.get(error.errno or 0, f'ERROR: could not insert {module!r}: {error.strerror}')}",
        file=sys.stderr,
    )
    return FATAL


def _real(name: str, words: Sequence[str]) -> int:
    os.execv(_program(name), [name, *words])


def _program(name: str) -> str:
    """The real machine's."""
    own = Path(sys.argv[1]).parent / "bin"
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != own)
    return shutil.which(name, path=path) or name


def main() -> int:
    """Of a script."""
    tree, name, *words = sys.argv[1:]
    return COMMANDS[name](Path(tree), words)


if __name__ == "__main__":
    sys.exit(main())
