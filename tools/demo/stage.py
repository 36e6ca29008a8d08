"""Where the demo plays: a root and a network namespace of its own, the controller in it, the printed record."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

BIN = Path(sys.prefix) / "bin"


@dataclass(frozen=True)
class Row:
    """One line of the table at the end."""

    step: str
    claimed: str
    seen: str
    holds: bool


class Stage:
    """Runs commands as an operator would type them, shows them, and cleans up whatever happens."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="softdpu-demo-"))
        self.netns = f"softdpu-demo-{os.getpid()}"
        self.rows: list[Row] = []
        self.environment = os.environ | {"SOFTDPU_ROOT": str(self.root), "PATH": f"{BIN}:{os.environ['PATH']}"}
        self.controller: subprocess.Popen[bytes] | None = None
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        self._cleanup.callback(shutil.rmtree, self.root, ignore_errors=True)
        subprocess.run(["ip", "netns", "add", self.netns], check=True)
        self._cleanup.callback(subprocess.run, ["ip", "netns", "del", self.netns], check=False)
        self._cleanup.callback(self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    # ---- what is printed

    @staticmethod
    def chapter(title: str) -> None:
        """A heading."""
        print(f"\n== {title}", flush=True)

    @staticmethod
    def show(where: str, command: str, output: str) -> None:
        """A command and its answer."""
        print(f"{where}$ {command}")
        for line in output.strip().splitlines():
            print(f"    {line}")
        sys.stdout.flush()

    def claim(self, step: str, claimed: str, seen: object, holds: bool) -> None:
        """One row of the table."""
        self.rows.append(Row(step, claimed, str(seen), holds))
        print(f"  {'as claimed' if holds else 'DIFFERS'}: {claimed}; seen: {seen}", flush=True)

    # ---- what an operator types

    def shell(self, command: str, *, quiet: bool = False, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A command on the DPU."""
        done = subprocess.run(
            ["bash", "-c", command],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        if not quiet:
            self.show("dpu", command, done.stdout)
        return done

    def in_netns(self, command: str, *, quiet: bool = False, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A command among the representors."""
        return self.shell(f"ip netns exec {self.netns} {command}", quiet=quiet, timeout=timeout)

    def reply(self, command: str) -> dict[str, Any]:
        """The JSON object that a virtnet command ends with."""
        output = self.shell(command).stdout
        start = output.find("{\n")
        return msgspec.json.decode(output[start:]) if start >= 0 else {}

    # ---- the controller

    def start_controller(self) -> None:
        """In the foreground of a process of its own; returns when it answers."""
        log = (self.root / "controller.log").open("ab")
        self.controller = subprocess.Popen(
            ["virtio-net-controller", "--netns", self.netns], env=self.environment, stdout=log, stderr=log
        )
        log.close()
        self.wait_until_it_answers()

    def wait_until_it_answers(self) -> None:
        """Raises RuntimeError when the controller does not come up."""
        assert self.controller is not None
        deadline = time.monotonic() + 30
        while self.shell("virtnet version", quiet=True).returncode:
            if time.monotonic() > deadline or self.controller.poll() is not None:
                raise RuntimeError("the controller did not start:\n" + (self.root / "controller.log").read_text())
            time.sleep(0.05)

    def datapath_pid(self) -> int:
        """Process id of the datapath, as ``virtnet health`` tells it."""
        health = msgspec.json.decode(self.shell("virtnet health", quiet=True).stdout)
        return int(health["service"]["datapath_pid"])

    def kill_controller(self) -> None:
        """SIGKILL, as a crash would."""
        assert self.controller is not None
        self.controller.send_signal(signal.SIGKILL)
        self.controller.wait()

    def _stop(self) -> None:
        self.shell("softdpu host off", quiet=True)
        if self.controller is not None and self.controller.poll() is None:
            self.shell("softdpu stop", quiet=True)
            try:
                self.controller.wait(10)
            except subprocess.TimeoutExpired:
                self.controller.kill()
                self.controller.wait()
