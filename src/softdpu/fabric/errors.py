"""What can go wrong at the DPU's end of a function. The text of each error is the sentence that an operator reads."""

import errno
import os


class FabricError(Exception):
    """Base of all errors of representors and their namespaces; ``errno`` is what the operator's command reports."""

    errno = errno.EIO


class NamespaceNotFound(FabricError):
    """The network namespace that the operator chose does not exist."""

    errno = errno.ENOENT

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"network namespace {self.name} does not exist: make it with `ip netns add {self.name}`, or name another."
        )


class NamespaceRefused(FabricError):
    """The kernel does not let us into a network namespace."""

    errno = errno.EPERM

    def __init__(self, name: str, error: OSError) -> None:
        super().__init__(name, error)
        self.name = name
        self.error = error

    def __str__(self) -> str:
        return f"network namespace {self.name} cannot be entered ({_reason(self.error)}): run as root (CAP_SYS_ADMIN)."


class BadInterfaceName(FabricError):
    """A name that no network interface can have."""

    errno = errno.EINVAL

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"{self.name!r} cannot name a network interface: 1 to 15 printable characters without '/', ':' or space."


class NameTaken(FabricError):
    """A representor's name belongs to another interface already."""

    errno = errno.EEXIST

    def __init__(self, name: str, place: str, owner: str) -> None:
        super().__init__(name, place, owner)
        self.name = name
        self.place = place
        self.owner = owner

    def __str__(self) -> str:
        return (
            f"{self.place} has an interface {self.name} already ({self.owner}): end its owner or delete it with "
            f"`ip link del {self.name}` there, or choose another SF number."
        )


class RepresentorRefused(FabricError):
    """The kernel refused to make or change a representor."""

    def __init__(self, name: str, what: str, error: OSError) -> None:
        super().__init__(name, what, error)
        self.name = name
        self.what = what
        self.error = error
        self.errno = error.errno or errno.EIO

    def __str__(self) -> str:
        return f"representor {self.name}: {self.what} failed ({_reason(self.error)}){_cure(self.error)}."


class UplinkRefused(FabricError):
    """The kernel refuses what an uplink takes."""

    def __init__(self, name: str, error: OSError) -> None:
        super().__init__(name, error)
        self.name = name
        self.error = error
        self.errno = error.errno or errno.EIO

    def __str__(self) -> str:
        cures = {
            errno.EPERM: ": run as root (CAP_NET_RAW, CAP_NET_ADMIN)",
            errno.EAFNOSUPPORT: ": name an Ethernet interface in virtnet.conf",
            errno.ENOPROTOOPT: ": it takes Linux 4.20 or later",
        }
        cure = cures.get(self.errno, "")
        return f"interface {self.name} cannot be an uplink ({_reason(self.error)}){cure}."


class RepresentorNotFound(FabricError):
    """There is no interface of that name."""

    errno = errno.ENODEV

    def __init__(self, name: str, place: str) -> None:
        super().__init__(name, place)
        self.name = name
        self.place = place

    def __str__(self) -> str:
        return (
            f"{self.place} has no interface {self.name}: it was deleted or moved; unplug its device and plug it again."
        )


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _cure(error: OSError) -> str:
    cures = {
        errno.EPERM: ": run as root (CAP_NET_ADMIN)",
        errno.EACCES: ": run as root, /dev/net/tun must be writable",
        errno.ENOENT: ": load the kernel module with `modprobe tun`",
        errno.ENODEV: ": load the kernel module with `modprobe tun`",
    }
    return cures.get(error.errno or 0, "")
