"""The simulated host from the operator's side: switch it on, have a shell on it, switch it off."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

from softdpu.api.client import Client
from softdpu.cli.process import Exit
from softdpu.controller.errors import OperatorError
from softdpu.controller.root import Root

PATIENCE = 60.0  # s for it to boot: a second, and many times that on a machine that is busy


class AlreadyOn(OperatorError):
    """Another profile was asked for while the host runs."""

    def __init__(self, root: Root) -> None:
        super().__init__(
            errno.EBUSY,
            f"the simulated host of {root.path} is on already, as it was chosen then: switch it off first "
            "(softdpu host off) to have another kernel, CPU or IOMMU.",
        )


class DidNotBoot(OperatorError):
    """The host's process did not come up."""

    def __init__(self, root: Root) -> None:
        super().__init__(errno.EIO, f"the simulated host did not come up: {_last_words(root)}. See {root.host_log}.")


def shell(options: Namespace, root: Root) -> int:
    """Becomes a shell in the host's namespace, or the exit status of the one command."""
    profile = _profile(options)
    if not running(root):
        switch_on(root, profile)
    elif profile:
        raise AlreadyOn(root)
    command = [*_enter(root), "/bin/bash", *(["-c", options.command] if options.command else ["--norc", "-i"])]
    environment = {
        **os.environ,
        "PATH": f"{root.host_commands}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PS1": "host# ",
    }
    if not options.command:
        sys.stderr.write(_notes(root))
    return subprocess.run(command, env=environment, check=False).returncode


def running(root: Root) -> int:
    """The host's process, 0 if it is off."""
    try:
        pid = int(root.host_pid.read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return 0
    return pid


def switch_on(root: Root, profile: list[str]) -> None:
    """Boots the host. Raises OperatorError when the controller is not there, or the host does not come up."""
    Client(root.api).get("/v1/functions")
    for file in (root.host_pid, root.host_log):
        file.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "softdpu.daemon.simulated_host", "--root", str(root.path), *profile]
    command = ["unshare", "--mount", "--propagation", "private", *words]
    with root.host_log.open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    deadline = time.monotonic() + PATIENCE
    while not running(root):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise DidNotBoot(root)
        time.sleep(0.02)


def off(root: Root) -> int:
    """Ends the host; its shells keep a dead tree. What its drivers had is reset."""
    pid = running(root)
    if pid:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while running(root) and time.monotonic() < deadline:
            time.sleep(0.02)
    print("The simulated host is off.")
    return Exit.SUCCESS


def _profile(options: Namespace) -> list[str]:
    words = ["--kernel", str(options.kernel)] if options.kernel else []
    words += ["--cpu", options.cpu] if options.cpu else []
    return words + (["--no-iommu"] if options.no_iommu else [])


def _enter(root: Root) -> list[str]:
    program = shutil.which("nsenter") or "nsenter"
    return [program, f"--mount=/proc/{running(root)}/ns/mnt", f"--wd={Path.cwd()}", "--"]


def _notes(root: Root) -> str:
    command = [*_enter(root), "cat", str(root.host_tree / "control/notes")]
    notes = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return "".join(f"note: {note}\n" for note in notes.splitlines())


def _last_words(root: Root) -> str:
    try:
        lines = root.host_log.read_text().strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"
