"""``virtio-net-controller``: the process that owns the device model of one DPU. Runs in the foreground."""

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import TextIO

from softdpu import __version__
from softdpu.controller.errors import OperatorError
from softdpu.controller.root import Root
from softdpu.datapath.client import DatapathError
from softdpu.datapath.process import DatapathUnavailable
from softdpu.firmware import FirmwareError

log = logging.getLogger("softdpu")
REFUSALS = (OperatorError, FirmwareError, DatapathUnavailable, DatapathError)


class AlreadyRunning(OperatorError):
    """A root has one controller."""

    def __init__(self, root: Root, pid: str) -> None:
        super().__init__(
            17,
            f"another controller (pid {pid or 'unknown'}) serves the root {root.path}: stop it with softdpu stop, "
            "or give this one a root of its own with --root.",
        )


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="virtio-net-controller", description="Emulate virtio-net PCI functions as a BlueField does, in software."
    )
    parser.add_argument("--root", help="directory that all paths hang from (default: SOFTDPU_ROOT, else /)")
    parser.add_argument("--netns", help="network namespace of the representors (default: this process's own)")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "err"))
    parser.add_argument("-v", "--version", action="version", version=f"v{__version__}")
    return parser.parse_args(argv)


def lock(root: Root) -> TextIO:
    """The root's lock, held while the returned file is open; it survives the replacement of the process by exec."""
    root.run.mkdir(parents=True, exist_ok=True)
    file = root.lock.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise AlreadyRunning(root, file.read().strip()) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM, SIGINT or the operator's word. Exit status 1 with one sentence when it cannot start."""
    options = arguments(argv)
    level = {"debug": logging.DEBUG, "info": logging.INFO, "err": logging.ERROR}[options.log_level]
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("softdpu").setLevel(level)
    root = Root.chosen(options.root)
    try:
        with lock(root):
            how = asyncio.run(_run(root, options.netns))
    except REFUSALS as error:
        print(f"virtio-net-controller: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"virtio-net-controller: {error}. Is the root {root.path} writable by you?", file=sys.stderr)
        return 1
    if how in ("restart", "power-cycle"):
        os.execv(sys.executable, [sys.executable, "-m", "softdpu.daemon", *(argv or sys.argv[1:])])
    return 0


async def _run(root: Root, netns: str | None) -> str:
    from softdpu.daemon.assembly import Assembly  # noqa: PLC0415 (the command line answers without it)

    leaving: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def leave(how: str) -> None:
        if not leaving.done():
            leaving.set_result(how)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave, "leave")
    assembly = Assembly(root, netns, leave)
    await assembly.start()
    try:
        how = await leaving
    finally:
        await assembly.end(leaving.result() if leaving.done() else "leave")
    return how


if __name__ == "__main__":
    sys.exit(main())
