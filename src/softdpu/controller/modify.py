"""``virtnet modify … device``: what may change while a driver is bound, what may not, and what only a VF has."""

import errno
from collections.abc import Callable
from typing import Any

import msgspec

from softdpu.controller import errors
from softdpu.controller.devices import Device
from softdpu.controller.requests import ModifyDevice, parse_mac
from softdpu.net.device import Function
from softdpu.net.mistakes import DriverBound, Mistake
from softdpu.net.state import FunctionState
from softdpu.virtio.outcome import NOTHING, Effects

VF_ONLY = {"msix_num": "MSI-X vectors", "num_qps": "queue pairs"}
NOT_YET: dict[str, str] = {
    "rx_mode": "the receive mode is the driver's, and it would set it back.",
    "state": "a device's state follows its driver: use -l 0 or -l 1 for the link.",
    "features": "features are fixed when the device is made: unplug it and hotplug it with -f.",
    "max_queue_size": "the queue size is fixed when the device is made: unplug it and hotplug it with -s.",
    "dim_config": "interrupt moderation is not offered by this device.",
}
SETTERS: dict[str, Callable[[Device, Any], Effects]] = {
    "mac": lambda device, mac: device.function.set_mac(parse_mac(mac)),
    "mtu": lambda device, mtu: device.function.set_mtu(mtu),
    "speed": lambda device, speed: device.function.set_speed(speed),
    "link": lambda device, link: device.function.set_link(bool(link)),
}


def apply(device: Device, request: ModifyDevice) -> Effects:
    """All of the changes to one device, or none. Raises OperatorError."""
    for name in request.changes:
        check(device, name)
    before = msgspec.msgpack.encode(device.function.state)
    effects = NOTHING
    try:
        for name, value in request.changes.items():
            effects = effects + SETTERS[name](device, value)
    except Mistake as mistake:
        device.function = Function.restore(msgspec.msgpack.decode(before, type=FunctionState))
        raise refusal(device, name, mistake) from mistake
    return effects


def check(device: Device, name: str) -> None:
    """Whether a property can be changed at all."""
    if name in VF_ONLY:
        raise errors.OperatorError(
            errno.EPERM,
            f"{VF_ONLY[name]} of {device.name} cannot change: it is a {device.record.kind}, and only VFs share a pool. "
            "Set VIRTIO_NET_EMULATION_NUM_MSIX with mlxconfig, or hotplug with another -n.",
        )
    if name in NOT_YET:
        raise errors.NotSupported(f"changing {name} of {device.name}", NOT_YET[name])


def refusal(device: Device, name: str, mistake: Mistake) -> errors.OperatorError:
    """The operator's error for a setting that the function refused."""
    if isinstance(mistake, DriverBound):
        return errors.DriverBound(device.name, name)
    return errors.OperatorError(mistake.errno, str(mistake))
