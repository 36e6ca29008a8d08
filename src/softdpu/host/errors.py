"""What can go wrong with a host. The text of each error is the sentence that an operator reads."""

import errno
import os
from pathlib import Path


class HostError(Exception):
    """Base of all errors of a host; ``errno`` is what the operator's command reports."""

    errno = errno.EIO


class HostUnreachable(HostError):
    """Nothing that speaks QMP answers at the path."""

    errno = errno.ENOTCONN

    def __init__(self, path: Path, cause: str, *, ended: bool = False) -> None:
        super().__init__(path, cause, ended)
        self.path = path
        self.cause = cause
        self.ended = ended  # no process has the socket: that QEMU is gone, and its devices with it

    def __str__(self) -> str:
        return (
            f"no QEMU at {self.path}: {self.cause}. Start QEMU with -qmp unix:{self.path},server=on,wait=off, "
            "or name the path of its QMP socket."
        )


class HostGone(HostError):
    """QEMU ended, or closed its QMP socket, while it was asked for something."""

    errno = errno.ECONNRESET

    def __init__(self, host: str, command: str) -> None:
        super().__init__(host, command)
        self.host = host
        self.command = command

    def __str__(self) -> str:
        return f"host {self.host} went away during {self.command}: its QEMU has ended. Start it again and repeat."


class HostBlocked(HostError):
    """QEMU does not answer a QMP command in time."""

    errno = errno.ETIMEDOUT

    def __init__(self, host: str, command: str, seconds: float) -> None:
        super().__init__(host, command, seconds)
        self.host = host
        self.command = command
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"host {self.host} did not answer {self.command} within {self.seconds:g} s: its QEMU is stopped or "
            "blocked. See what it waits for (kill -CONT, its disk, another device's server), then repeat."
        )


class HostRefused(HostError):
    """QEMU answered a QMP command with an error that has no sentence of its own here."""

    errno = errno.EREMOTEIO

    def __init__(self, host: str, command: str, kind: str, description: str) -> None:
        super().__init__(host, command, kind, description)
        self.host = host
        self.command = command
        self.kind = kind  # QMP error class, such as GenericError
        self.description = description

    def __str__(self) -> str:
        return f"host {self.host} refused {self.command}: {self.description}."


class NoVfioUser(HostError):
    """This QEMU cannot connect to a function that is served over vfio-user."""

    errno = errno.ENOTSUP

    def __init__(self, host: str, version: str) -> None:
        super().__init__(host, version)
        self.host = host
        self.version = version

    def __str__(self) -> str:
        return (
            f"host {self.host} runs QEMU {self.version}, which has no vfio-user-pci device: "
            "use QEMU 10.1 or newer, built with vfio-user (`softdpu lab build` fetches one)."
        )


class MemoryNotShared(HostError):
    """The guest's memory cannot be reached from outside QEMU: a device would see other pages than the guest."""

    errno = errno.ENOTSUP

    def __init__(self, host: str, backends: tuple[str, ...]) -> None:
        super().__init__(host, backends)
        self.host = host
        self.backends = backends

    def __str__(self) -> str:
        return (
            f"host {self.host} keeps its guest's memory private ({', '.join(self.backends)}), so no device could reach "
            "it: start QEMU with -object memory-backend-memfd,id=mem,size=…,share=on -machine …,memory-backend=mem."
        )


class NoFreePort(HostError):
    """The host has no hot-plug port left."""

    errno = errno.ENOSPC

    def __init__(self, host: str, reasons: tuple[str, ...]) -> None:
        super().__init__(host, reasons)
        self.host = host
        self.reasons = reasons

    def __str__(self) -> str:
        found = "; ".join(self.reasons) or "it has none at all"
        return (
            f"host {self.host} has no free hot-plug port ({found}). Unplug a device, or start QEMU with another "
            "-device pcie-root-port,id=rpN,chassis=N."
        )


class DeviceIdTaken(HostError):
    """The host has a device of that id already."""

    errno = errno.EEXIST

    def __init__(self, host: str, device_id: str) -> None:
        super().__init__(host, device_id)
        self.host = host
        self.device_id = device_id

    def __str__(self) -> str:
        return f"host {self.host} has a device {self.device_id} already: unplug that one first."


class SocketUnreachable(HostError):
    """QEMU could not connect to the function's socket."""

    errno = errno.ECONNREFUSED

    def __init__(self, host: str, path: Path, description: str) -> None:
        super().__init__(host, path, description)
        self.host = host
        self.path = path
        self.description = description

    def __str__(self) -> str:
        return (
            f"host {self.host} cannot connect to {self.path}: {self.description}. Its QEMU must see that path and may "
            "write to it: check its user, container and AppArmor or SELinux profile."
        )


class FunctionHungUp(HostError):
    """QEMU connected to the function's socket, and then the talk broke off."""

    errno = errno.EBUSY

    def __init__(self, host: str, path: Path, description: str) -> None:
        super().__init__(host, path, description)
        self.host = host
        self.path = path
        self.description = description

    def __str__(self) -> str:
        return (
            f"host {self.host} connected to {self.path} and lost it again ({self.description}): a function serves one "
            "VMM at a time, so another one may have it. End that one or unplug the function there, then plug it here."
        )


class UnplugWouldCrash(HostError):
    """This QEMU would abort, and its guest with it."""

    errno = errno.ENOTSUP

    def __init__(self, host: str, device_id: str, version: str, reason: str, cure: str) -> None:
        super().__init__(host, device_id, version, reason, cure)
        self.host = host
        self.device_id = device_id
        self.version = version
        self.reason = reason
        self.cure = cure

    def __str__(self) -> str:
        return (
            f"{self.device_id} stays plugged: host {self.host} runs QEMU {self.version}, and {self.reason}. {self.cure}"
        )


class GuestKeepsDevice(HostError):
    """The guest did not release a device in time, or refused to."""

    errno = errno.EBUSY

    def __init__(self, host: str, device_id: str, cause: str) -> None:
        super().__init__(host, device_id, cause)
        self.host = host
        self.device_id = device_id
        self.cause = cause

    def __str__(self) -> str:
        return (
            f"the guest of host {self.host} keeps {self.device_id}: {self.cause}. Hot unplug needs a running guest "
            "whose kernel handles it: let it boot, unbind the driver there, then unplug again, or power the guest down."
        )


def reason(error: OSError) -> str:
    """The system's words for an error."""
    return os.strerror(error.errno) if error.errno else str(error)
