"""The simulated host as a process: its /sys and /proc are mounted in a namespace of its own, which shells join.

Started by ``softdpu host shell``, inside ``unshare --mount``. It lives until it is told to end.
"""

import logging
import os
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from softdpu.api.client import Client
from softdpu.controller.root import Root
from softdpu.daemon.files import serve
from softdpu.daemon.pci_bus import PciBus
from softdpu.doctor.limits import Version
from softdpu.host.simulated import commands, control, procfs, sysfs
from softdpu.host.simulated.kernel import Kernel
from softdpu.host.simulated.profile import Profile
from softdpu.host.simulated.tree import Directory, fixed

log = logging.getLogger("softdpu.host.simulated")
PATIENCE = 60.0  # s for the mount to appear
OVERLAYS = {  # what of the tree lies over what of this machine, in the namespace
    "sys/bus/pci": "/sys/bus/pci",
    "sys/module": "/sys/module",
    "proc/ioports": "/proc/ioports",
    "proc/iomem": "/proc/iomem",
    "proc/modules": "/proc/modules",
    "proc/cmdline": "/proc/cmdline",
    "proc/cpuinfo": "/proc/cpuinfo",
    "proc/osrelease": "/proc/sys/kernel/osrelease",
}


def arguments(argv: Sequence[str] | None) -> Namespace:
    """Which DPU it is the host of, and what host it is."""
    parser = ArgumentParser("softdpu-host", description="The simulated host of a DPU.")
    parser.add_argument("--root")
    parser.add_argument("--kernel", type=Version.parse, default=Profile().kernel)
    parser.add_argument("--cpu", choices=("intel", "amd"), default="intel")
    parser.add_argument("--no-iommu", action="store_true")
    return parser.parse_args(argv)


def tree(kernel: Kernel, trace: Callable[[], bytes]) -> Directory:
    """All that is mounted."""
    sys_ = fixed({"bus": fixed({"pci": sysfs.bus_pci(kernel)}), "module": sysfs.modules(kernel)})
    return fixed({"sys": sys_, "proc": procfs.proc(kernel), "control": control.control(kernel, trace)})


def overlay(root: Root) -> None:
    """When the tree is mounted, lay it over this namespace's own, then say that the host is up."""
    deadline = time.monotonic() + PATIENCE
    while not os.path.ismount(root.host_tree):
        if time.monotonic() > deadline:
            log.error("the files of the simulated host were not mounted within %.0f s", PATIENCE)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        time.sleep(0.01)
    for inside, over in OVERLAYS.items():
        if Path(over).exists():  # a kernel without modules has no /proc/modules
            subprocess.run(["mount", "--bind", root.host_tree / inside, over], check=True)
    root.host_pid.write_text(f"{os.getpid()}\n")


def install(root: Root) -> None:
    """The commands that a shell of the host finds before this machine's own."""
    root.host_commands.mkdir(parents=True, exist_ok=True)
    for name in commands.COMMANDS:
        script = root.host_commands / name
        words = shlex.join([sys.executable, "-m", "softdpu.host.simulated.commands", str(root.host_tree), name])
        script.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        script.chmod(0o755)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM."""
    options = arguments(argv)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the drivers of hundreds of VFs have some each
    root = Root.chosen(options.root)
    profile = Profile(kernel=options.kernel, cpu=options.cpu, iommu=not options.no_iommu)
    root.host_tree.mkdir(parents=True, exist_ok=True)
    bus = PciBus(Client(root.api), root.host_tree.parent, legacy_works=profile.legacy_dma_works)
    kernel = Kernel(profile, bus)
    install(root)
    threading.Thread(target=overlay, args=[root], daemon=True).start()
    try:
        serve(tree(kernel, bus.trace.text), str(root.host_tree), kernel.log.append)
    except RuntimeError:
        if not root.host_pid.exists():  # else it is how libfuse says that it was told to end
            raise
    finally:
        Path(root.host_pid).unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
