"""`softdpu lab`: build the lab, or boot a guest with a shell on this terminal."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from softdpu.lab import kernels, kvm, progress
from softdpu.lab.build import QEMUS, Lab
from softdpu.lab.errors import LabError
from softdpu.lab.machine import Device, Machine, monitor_socket

FAILURE = 1


def add_arguments(parser: ArgumentParser) -> None:
    """Declares `build` and `boot`; the chosen one's function is in the namespace as `act`."""
    parser.add_argument("--cache", type=Path, help="where the lab lives (default: SOFTDPU_LAB or ~/.cache/softdpu/lab)")
    verbs = parser.add_subparsers(dest="action", required=True)
    _declare_build(verbs.add_parser("build", help="fetch QEMU and guest kernels from Debian; does nothing when done"))
    _declare_boot(verbs.add_parser("boot", help="boot a guest with a shell on this terminal; Ctrl-A x leaves"))


def _declare_build(parser: ArgumentParser) -> None:
    parser.add_argument("--verify", action="store_true", help="read every file against its SHA-256")
    parser.add_argument("--refresh", action="store_true", help="make everything anew from what the mirror has today")
    parser.set_defaults(act=build)


def _declare_boot(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("kernel", choices=kernels.NAMES)
    add("--device", action="append", default=[], metavar="JSON", help="a -device of QEMU, as JSON or as its own text")
    add("--netdev", action="append", default=[], metavar="JSON", help="a -netdev of QEMU, likewise")
    add("--append", action="append", default=[], metavar="WORDS", help="more of the kernel command line")
    add("--legacy", action="store_true", help="drive transitional devices by their I/O port registers")
    add("--machine", choices=("q35", "pc"), default="q35")
    add("--ports", type=int, default=4, metavar="N", help="PCIe root ports rp1 ... rpN to plug into (q35, default 4)")
    add("--bridges", type=int, default=0, metavar="N", help="conventional PCI bridges bridge1 ... bridgeN (default 0)")
    add("--memory", type=int, default=256, metavar="MIB")
    add("--smp", type=int, default=1, metavar="N", help="processors")
    add("--accel", choices=("kvm", "tcg"), help="default: KVM where it runs stock kernels")
    add("--qmp", type=Path, metavar="PATH", help="offer a QMP socket, for `softdpu host attach`")
    add("--qemu", choices=QEMUS, default=QEMUS[0], help="its version (default %(default)s)")
    parser.set_defaults(act=boot)


def build(options: Namespace) -> int:
    """Makes what is missing or damaged, then says what is there."""
    lab = Lab(options.cache).build(thorough=options.verify, refresh=options.refresh)
    releases = ", ".join(lab.release(name) for name in kernels.NAMES)
    qemus = " and ".join(lab.qemu_version(version) for version in QEMUS)
    print(f"{lab.cache}: QEMU {qemus}, kernels {releases}")
    return 0


def boot(options: Namespace) -> int:
    """Becomes QEMU, with the guest's console on this terminal. Returns only by raising LabError."""
    lab = Lab(options.cache).build()
    words = [*options.append, *(["virtio_pci.force_legacy=1"] if options.legacy else []), "quiet", "lab.shell"]
    machine = Machine(
        kernel=options.kernel,
        type=options.machine,
        memory=options.memory,
        processors=options.smp,
        cmdline=" ".join(words),
        devices=[_device(text) for text in options.device],
        netdevs=[_device(text) for text in options.netdev],
        root_ports=options.ports if options.machine == "q35" else 0,
        bridges=options.bridges,
    )
    accelerator = options.accel or kvm.accelerator(lab)
    progress.say(
        f"kernel {lab.release(options.kernel)} under QEMU {lab.qemu_version(options.qemu)} ({accelerator}); "
        "Ctrl-A x leaves"
    )
    prefix = lab.qemu(options.qemu)
    command = prefix.qemu(*machine.arguments(lab, accelerator), "-serial", "mon:stdio", "-serial", "null")
    command += monitor_socket(options.qmp) if options.qmp else []
    os.execve(command[0], command, prefix.environment())


def _device(text: str) -> Device:
    if not text.lstrip().startswith("{"):
        return text
    try:
        json.loads(text)
    except ValueError as error:
        raise LabError(f"{text} is not JSON ({error}): quote it as one word for the shell.") from None
    return text


def command(arguments: Sequence[str]) -> int:
    """Runs one command line, without the words `softdpu lab`; returns the exit status."""
    parser = ArgumentParser("softdpu lab", description=__doc__)
    add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        status: int = options.act(options)
    except LabError as error:
        print(f"softdpu lab: {error}", file=sys.stderr)
        return FAILURE
    return status
