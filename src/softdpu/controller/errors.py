"""What the operator is told when something cannot be done: one sentence with what, why and what to do, and an errno."""

import errno
from collections.abc import Iterable

from softdpu.spelling import suggestion


class OperatorError(Exception):
    """A refusal. ``str()`` is the sentence for the operator, ``errno`` a positive number for scripts."""

    errno: int = errno.EINVAL

    def __init__(self, number: int, sentence: str) -> None:
        super().__init__(sentence)
        self.errno = number


class InvalidValue(OperatorError):
    """A value that the operator gave is not acceptable."""

    def __init__(self, what: str, value: object, accepted: str, cure: str = "") -> None:
        sentence = f"{what} {value!r} is not accepted: it must be {accepted}"
        super().__init__(errno.EINVAL, f"{sentence}. {cure}" if cure else f"{sentence}.")


class BadRequest(OperatorError):
    """The request itself has the wrong shape: a field is missing, unknown or of the wrong type."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EINVAL, f"the request was not understood: {why}. See /schema for what is accepted.")


class NoSuchDevice(OperatorError):
    """No device answers to what the operator named."""

    def __init__(self, named: str, known: Iterable[str]) -> None:
        there = ", ".join(known) or "none"
        super().__init__(errno.ENODEV, f"there is no device {named}; devices now: {there}. See virtnet list.")


class NoSuchIbDevice(OperatorError):
    """The RDMA device named for a port does not exist in this configuration."""

    def __init__(self, named: str, known: Iterable[str]) -> None:
        names = tuple(known)
        super().__init__(
            errno.ENODEV,
            f"there is no ib device {named!r}{suggestion(named, names) or ';'} "
            f"use one of {', '.join(names)} (set by ib_dev_p0, ib_dev_p1 or ib_dev_lag in virtnet.conf).",
        )


class DriverBound(OperatorError):
    """A property may change only while no driver uses the device."""

    def __init__(self, device: str, what: str) -> None:
        super().__init__(
            errno.EBUSY,
            f"{what} of {device} cannot change while a driver uses it: unbind the guest's driver first "
            f"(echo BDF > /sys/bus/pci/drivers/virtio-pci/unbind), change it, then bind again.",
        )


class NotSupported(OperatorError):
    """What the operator asked for does not exist here."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(errno.EOPNOTSUPP, f"{what} is not supported: {why}")


class Migrating(OperatorError):
    """Devices cannot come or go during a live update."""

    def __init__(self, verb: str) -> None:
        super().__init__(
            errno.EAGAIN,
            f"cannot {verb} now: the controller is migrating to a new version; "
            f"try again when virtnet update -t reports inactive.",
        )


class EmulationDisabled(OperatorError):
    """The firmware does not allow virtio-net emulation at all."""

    def __init__(self) -> None:
        super().__init__(
            errno.EPERM,
            "virtio-net emulation is off in the firmware: mlxconfig -d 03:00.0 -y s VIRTIO_NET_EMULATION_ENABLE=1, "
            "then softdpu power-cycle.",
        )


class SwitchDisabled(OperatorError):
    """Hot plug needs the emulated PCI switch."""

    def __init__(self) -> None:
        super().__init__(
            errno.EPERM,
            "hot plug needs the emulated PCI switch, which is off in the firmware: mlxconfig -d 03:00.0 -y s "
            "PCI_SWITCH_EMULATION_ENABLE=1 PCI_SWITCH_EMULATION_NUM_PORT=16, then softdpu power-cycle.",
        )


class TransitionalDisabled(OperatorError):
    """``hotplug -l`` without the firmware's leave."""

    def __init__(self) -> None:
        super().__init__(
            errno.EPERM,
            "a transitional device (-l) needs VIRTIO_EMULATION_HOTPLUG_TRANS, which is off in the firmware: "
            "mlxconfig -d 03:00.0 -y s VIRTIO_NET_EMULATION_PF_PCI_LAYOUT=1 VIRTIO_EMULATION_HOTPLUG_TRANS=1, "
            "then softdpu power-cycle; or plug it without -l.",
        )


class NoPlaceForHotplug(OperatorError):
    """Every port of the emulated switch is taken."""

    def __init__(self, used: int, ports: int, most: int) -> None:
        cure = (
            "raise PCI_SWITCH_EMULATION_NUM_PORT with mlxconfig and power-cycle"
            if ports < most
            else "plug it from a second DPU (virtio-net-controller --root DIR), for the firmware allows no more ports"
        )
        super().__init__(
            errno.ENOSPC,
            f"no free port for another hotplug device: {used} of {max(ports - 1, 0)} are used "
            f"(PCI_SWITCH_EMULATION_NUM_PORT={ports}, one port is the switch's own). Unplug one "
            f"(virtnet unplug -p ID), or {cure}.",
        )


class MsixWouldCrash(OperatorError):
    """This QEMU would end when a driver enables MSI-X on a vhost-user device."""

    def __init__(self, vuid: str, version: str) -> None:
        super().__init__(
            errno.ENOTSUP,
            f"{vuid} is not plugged: QEMU {version} without KVM crashes, guest and all, when a driver enables MSI-X on "
            "a vhost-user device. Leave --num_msix away (the device then has INTx only), or run the guest with KVM.",
        )


class TooManyQueues(OperatorError):
    """More virtqueues than the firmware has vectors for, or than a device can have."""

    def __init__(self, asked: int, vectors: int, most: int) -> None:
        super().__init__(
            errno.EINVAL,
            f"max_queues {asked} is beyond the limit {min(vectors, most)}: the lesser of VIRTIO_NET_EMULATION_NUM_MSIX "
            f"({vectors}) and the most virtqueues of a device ({most}). Ask for fewer, or raise "
            f"VIRTIO_NET_EMULATION_NUM_MSIX with mlxconfig and power-cycle.",
        )
