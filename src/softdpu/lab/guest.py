"""A guest with a stock kernel: boot it, run commands in it, speak QMP to it, and be sure that it is gone afterwards."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from softdpu.lab import channel, kvm
from softdpu.lab.build import Lab
from softdpu.lab.errors import GuestError, GuestTimeout
from softdpu.lab.machine import Accelerator, Device, Machine, Type
from softdpu.lab.running import Running

T = TypeVar("T")

BOOT_TIMEOUT = 120.0
"""Seconds; an emulated guest boots in 3, but machines that run tests are busy."""


@dataclass(frozen=True)
class Result:
    """What a command wrote to standard output and standard error, and its exit status (128 + n for signal n)."""

    output: str
    status: int


class Job:
    """A command that runs in the guest beside others."""

    def __init__(self, guest: Guest, number: int, command: str) -> None:
        self._guest, self._number, self.command = guest, number, command

    def wait(self, timeout: float = 60) -> Result:
        """Waits for its end; GuestTimeout with the output so far if that takes longer (it goes on running)."""
        return _result(_run(self._guest.running.finish(self._number, timeout, self.command)))

    def output(self) -> str:
        """What it has written so far."""
        return _run(self._guest.running.output(self._number)).decode(errors="replace")

    def kill(self) -> None:
        """Ends it and everything it started (SIGKILL); `wait` then gives status 137."""
        _run(_later(self._guest.running.kill, self._number))


class Guest:
    """A virtual machine under stock QEMU; use it as a context manager.

    kernel      "6.1", "6.12" or "7.3"
    cmdline     added to the kernel command line; `lab.modules=none` loads no driver at boot
    legacy      adds `virtio_pci.force_legacy=1`: transitional devices are driven through their I/O port registers
    machine     "q35" or "pc" (i440fx)
    root_ports  PCIe ports rp1 ... rpN to plug into; bridges: conventional ones, bridge1 ... bridgeN, likewise
    devices     -device, each a mapping as for QMP's device_add or QEMU's text; netdevs likewise
    more        further arguments of QEMU's; with `-incoming defer` the guest waits for one that migrates: `continue_as`
    memory      MiB, shared with the processes behind vfio-user and vhost-user devices
    accel       "kvm" or "tcg"; by default KVM where a trial boot showed that it runs stock kernels
    qmp         where to offer a QMP socket to others (`qmp_path`); this object has a monitor of its own
    qemu        "11.1" or "7.2"
    wrapper     words to put before QEMU's command line, such as ip netns exec NAME
    program     words to use in place of QEMU's program, such as a script that becomes QEMU
    """

    def __init__(
        self,
        kernel: str = "6.12",
        cmdline: str = "",
        devices: Sequence[Device] = (),
        qmp: Path | None = None,
        *,
        legacy: bool = False,
        machine: Type = "q35",
        root_ports: int = 0,
        bridges: int = 0,
        netdevs: Sequence[Device] = (),
        more: Sequence[str] = (),
        memory: int = 256,
        processors: int = 1,
        accel: Accelerator | None = None,
        qemu: str = "11.1",
        wrapper: Sequence[str] = (),
        program: Sequence[str] = (),
        lab: Lab | None = None,
        timeout: float = BOOT_TIMEOUT,
    ) -> None:
        words = [cmdline, "virtio_pci.force_legacy=1" if legacy else ""]
        self.machine = Machine(
            kernel=kernel,
            type=machine,
            memory=memory,
            processors=processors,
            cmdline=" ".join(filter(None, words)),
            devices=devices,
            netdevs=netdevs,
            more=more,
            root_ports=root_ports,
            bridges=bridges,
        )
        self.lab = (lab or Lab()).build()
        self.accel: Accelerator = accel or kvm.accelerator(self.lab)
        self.timeout = timeout
        self.prefix = self.lab.qemu(qemu)
        self._wrapper = list(wrapper)
        self._program = list(program)
        self._folder: Path | None = None
        self._qmp = qmp
        self._running: Running | None = None

    def __enter__(self) -> Self:
        self.start()
        try:
            if "-incoming" not in self.machine.more:
                self.ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts QEMU and returns; `ready` waits for the guest. Several guests can so boot at once."""
        self._folder = Path(tempfile.mkdtemp(prefix="softdpu-guest-"))
        words = self.machine.arguments(self.lab, self.accel)
        command = [*self._wrapper, *([*self._program, *words] if self._program else self.prefix.qemu(*words))]
        running = self._running = Running(command, self.prefix.environment(), self.qmp_path)
        try:
            _run(running.start())
        except BaseException:
            self.stop()
            raise

    def ready(self, timeout: float | None = None) -> None:
        """Waits until the guest runs commands."""
        _run(self.running.booted(1, timeout or self.timeout))

    def continue_as(self, former: Guest) -> None:
        """From now on this is the guest that ran in `former`, which has migrated here."""
        self.running.take_over(former.running)

    def stop(self) -> None:
        """Ends QEMU as a power cut would. Safe to call at any time, also twice."""
        if self._running is not None:
            _run(self._running.stop())
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @property
    def running(self) -> Running:
        """The process behind; GuestError before `start`."""
        if self._running is None:
            raise GuestError("the guest has not been started")
        return self._running

    @property
    def qmp_path(self) -> Path:
        """The QMP socket for others, such as a controller that plugs devices in."""
        if self._qmp is not None:
            return self._qmp
        if self._folder is None:
            raise GuestError("the guest has not been started")
        return self._folder / "qmp.sock"

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self.running.pid

    @property
    def console(self) -> str:
        """Everything that firmware and kernel wrote to the first serial port so far."""
        return self.running.console.decode(errors="replace").replace("\r", "")

    @property
    def release(self) -> str:
        """The kernel's release, as the guest itself said at boot."""
        return self.running.release

    def run(self, command: str, timeout: float = 60, *, check: bool = False) -> Result:
        """Runs a shell command and waits for its end. With `check`, a status other than 0 is a GuestError.

        Each command has a shell of its own, so directories and variables do not carry over. After `timeout` seconds it
        is killed and GuestTimeout raised, which carries what it wrote.
        """
        job = self.begin(command)
        try:
            result = job.wait(timeout)
        except GuestTimeout:
            job.kill()
            raise
        if check and result.status:
            raise GuestError(f"{command!r} ended with status {result.status}: {result.output.strip()}")
        return result

    def begin(self, command: str) -> Job:
        """Starts a shell command beside whatever runs already."""
        return Job(self, _run(_later(self.running.begin, command)), command)

    def wait_for(self, command: str, timeout: float = 60, interval: float = 0.2) -> Result:
        """Repeats a command until its status is 0 and returns that result."""
        deadline = time.monotonic() + timeout
        while True:
            result = self.run(command, timeout=max(5.0, deadline - time.monotonic()))
            if result.status == 0:
                return result
            if time.monotonic() > deadline:
                raise GuestTimeout(
                    f"{command!r} did not succeed in {timeout:g} s; at last it ended with status {result.status} "
                    f"and wrote {result.output!r}.\nThe console's last lines:\n{self.running.last_lines()}"
                )
            time.sleep(interval)

    def write_file(self, path: str, data: bytes) -> None:
        """Puts a file into the guest; for kilobytes: the serial line moves some 50 kB/s."""
        self.run(f": >'{path}'", check=True)
        step = channel.MAX_COMMAND // 4
        for offset in range(0, len(data), step):
            chunk = data[offset : offset + step].hex()
            self.run(f"echo {chunk} | xxd -r -p >>'{path}'", check=True)

    def qmp(self, command: str, **arguments: object) -> Any:
        """A QMP command's return value; `_` in argument names stands for `-`. qemu.qmp.ExecuteError when refused."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return _run(self.running.execute(command, named, timeout=60))

    def plug(self, device: Device) -> None:
        """device_add of a mapping such as {"driver": ..., "id": ..., "bus": "rp1"}."""
        if isinstance(device, str):
            raise TypeError("QMP takes a device as a mapping")
        _run(self.running.execute("device_add", dict(device), timeout=60))

    def unplug(self, device: str, timeout: float = 30) -> None:
        """device_del, and the wait for the guest to let go of the device."""
        self.qmp("device_del", id=device)
        self.wait_event("DEVICE_DELETED", timeout, device=device)

    def wait_event(self, name: str, timeout: float = 30, **data: object) -> dict[str, Any]:
        """Waits for a QMP event that has at least this data, and returns it; each event is returned once."""
        return dict(_run(self.running.event(name, data, timeout)))

    def reboot(self, timeout: float | None = None) -> None:
        """Has the guest's kernel restart the machine, and waits until it runs commands again."""
        self._restart(lambda: self.begin("reboot -f"), timeout)

    def system_reset(self, timeout: float | None = None) -> None:
        """Presses the reset button: the kernel is not asked. Waits until the guest runs commands again."""
        self._restart(lambda: self.qmp("system_reset"), timeout)

    def _restart(self, press: Callable[[], object], timeout: float | None) -> None:
        boots = self.running.boots
        press()
        _run(self.running.booted(boots + 1, timeout or self.timeout))


def _result(done: channel.Done) -> Result:
    return Result(done.output.decode(errors="replace"), done.status)


async def _later(function: Callable[..., T], *arguments: object) -> T:
    return function(*arguments)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The one loop. Its thread lives as long as this process, since QEMU dies with the thread that started it."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="softdpu-lab", daemon=True).start()
    return loop


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result()
