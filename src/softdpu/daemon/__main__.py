"""``virtio-net-controller``: the process that owns the device model of one DPU. Runs in the foreground."""

import argparse
import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from softdpu import __version__
from softdpu.controller import verbosity
from softdpu.controller.errors import OperatorError
from softdpu.controller.root import Root
from softdpu.controller.update import LiveUpdate
from softdpu.daemon.lock import AlreadyRunning, hold, pass_on
from softdpu.datapath import process
from softdpu.datapath.client import DatapathError
from softdpu.datapath.process import DatapathUnavailable
from softdpu.fabric.errors import FabricError
from softdpu.firmware import FirmwareError

log = logging.getLogger("softdpu")
REFUSALS = (OperatorError, FirmwareError, DatapathUnavailable, DatapathError, FabricError)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="virtio-net-controller", description="Emulate virtio-net PCI functions as a BlueField does, in software."
    )
    parser.add_argument("--root", help="directory that all paths hang from (default: SOFTDPU_ROOT, else /)")
    parser.add_argument("--netns", help="network namespace of the representors (default: this process's own)")
    parser.add_argument(
        "--log-level", default="info", choices=("debug", "info", "err"), help="until virtnet log says another"
    )
    parser.add_argument("--rehearse", action="store_true", help="do all that comes before serving, then end")
    parser.add_argument("-v", "--version", action="version", version=f"v{__version__}")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM, SIGINT or the operator's word. Exit status 1 with one sentence when it cannot start."""
    options = arguments(argv)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    root = Root.chosen(options.root)
    verbosity.apply(verbosity.kept(root) or options.log_level)
    try:
        root.check()
        if options.rehearse:
            return _rehearse(root)
        with hold(root) as lock:
            how = asyncio.run(_run(root, options.netns))
            if how in ("restart", "power-cycle"):
                pass_on(lock)
                os.execv(sys.executable, [sys.executable, "-m", "softdpu.daemon", *(argv or sys.argv[1:])])
    except AlreadyRunning as error:
        return _refuse(str(error))
    except REFUSALS as error:
        _fail_update(root)
        return _refuse(str(error))
    except OSError as error:
        _fail_update(root)
        return _refuse(f"{error}. Is the root {root.path} writable by you?")
    return 0


def _refuse(sentence: str) -> int:
    print(f"virtio-net-controller: {sentence}", file=sys.stderr)
    return 1


def _fail_update(root: Root) -> None:
    """A live update that brought this program has failed, and says so to whoever asks."""
    with suppress(OperatorError, OSError):
        LiveUpdate(root).fail()


def _rehearse(root: Root) -> int:
    """All parts are there and take the settings; nothing is touched."""
    from softdpu.api.app import create_app  # noqa: PLC0415
    from softdpu.daemon.assembly import Assembly  # noqa: PLC0415

    create_app(Assembly(root, None, lambda _: None).service)
    process.binary()
    return 0


def _raise_descriptor_limit() -> None:
    """A device has a representor's descriptor here, and each one on its way to the datapath more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _run(root: Root, netns: str | None) -> str:
    """How the controller shall end. What it had begun is ended when it cannot start."""
    from softdpu.daemon.assembly import Assembly  # noqa: PLC0415 (the command line answers without it)

    _raise_descriptor_limit()
    leaving: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def leave(how: str) -> None:
        if not leaving.done():
            leaving.set_result(how)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave, "leave")
    assembly = Assembly(root, netns, leave)
    try:
        starting = asyncio.ensure_future(assembly.start())
        leaving.add_done_callback(lambda _: starting.cancel())
        with suppress(asyncio.CancelledError):
            await starting
        return await leaving
    finally:
        await assembly.end(leaving.result() if leaving.done() else "leave")


if __name__ == "__main__":
    sys.exit(main())
