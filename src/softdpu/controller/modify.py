"""``virtnet modify``: what may change while a driver is bound, what may not, and what only a VF has."""

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from softdpu.controller import errors, pools
from softdpu.controller.devices import AnyFunction, Device, copied
from softdpu.controller.hosts import Hosts
from softdpu.controller.lifecycle import Lifecycle
from softdpu.controller.plug import Plugger
from softdpu.controller.replug import out_of_their_hosts
from softdpu.controller.requests import Modify, ModifyDevice, ModifyQueue, parse_mac
from softdpu.controller.vfs import Vfs
from softdpu.net.mistakes import DriverBound, Mistake
from softdpu.net.state import FunctionConfig
from softdpu.net.vhost import VhostFunction
from softdpu.virtio.outcome import NOTHING, Effects

VF_ONLY = {"msix_num": "MSI-X vectors", "num_qps": "queue pairs"}
OF_THE_VMM = frozenset({"mac", "mtu", "speed"})
# What makes another function of the device, with the reason why some devices keep it.
SHAPE = {
    "msix_num": "",
    "num_qps": "",
    "features": "unplug it and hotplug it with -f.",
    "max_queue_size": "unplug it and hotplug it with -s.",
}
SETTERS: dict[str, Callable[[AnyFunction, Any], Effects]] = {
    "mac": lambda function, mac: function.set_mac(parse_mac(mac)),
    "mtu": lambda function, mtu: function.set_mtu(mtu),
    "speed": lambda function, speed: function.set_speed(speed),
    "link": lambda function, link: function.set_link(bool(link)),
    "state": lambda function, state: function.set_state(state),
    "rx_mode": lambda function, modes: function.set_rx_mode(modes),
    "dim_config": lambda function, dim: function.set_moderation(dynamic=dim == "enable"),
    "period_mode": lambda function, mode: function.set_moderation(mode=mode),
    "period": lambda function, microseconds: function.set_moderation(microseconds=microseconds),
    "max_count": lambda function, packets: function.set_moderation(packets=packets),
}
Keep = Callable[[Device], None]


async def carry_out(
    life: Lifecycle, hosts: Hosts, plugger: Plugger, devices: Sequence[Device], request: ModifyDevice
) -> None:
    """All of the changes to all of the devices, or none. Raises OperatorError.

    A representor is widened before its device, so that at no moment a guest may send what it does not take.
    """
    rehearse(devices, request)
    await _reshape(life, plugger.vfs, devices, request)
    keep = plugger.keep_or_refuse
    widened: list[tuple[Device, int]] = []
    try:
        if request.mtu is not None:
            for device in devices:
                if (before := await life.widen(device, request.mtu)) is not None:
                    widened.append((device, before))
        async with out_of_their_hosts(hosts, [d for d in devices if shown_by_its_vmm(d, request)]):
            changed = commit(devices, request, keep)
    except BaseException:
        for device, before in widened:
            await life.set_representor_mtu(device, before)
        raise
    for device, effects in zip(devices, changed, strict=True):
        await life.update(device, effects)
        await _follow(life, hosts, device, request)


async def moderate(life: Lifecycle, plugger: Plugger, devices: Sequence[Device], request: ModifyQueue) -> None:
    """How the queues of the devices interrupt: all of the changes to all of them, or none. Raises OperatorError."""
    rehearse(devices, request)
    for device, effects in zip(devices, commit(devices, request, plugger.keep_or_refuse), strict=True):
        await life.update(device, effects)


def shown_by_its_vmm(device: Device, request: ModifyDevice) -> bool:
    """Whether something changes that QEMU fixed when it got the device, so that it must get it anew."""
    plugged = device.export == "vhost-user" and device.record.place is not None
    return plugged and not OF_THE_VMM.isdisjoint(request.changes)


async def _reshape(life: Lifecycle, vfs: Vfs, devices: Sequence[Device], request: ModifyDevice) -> None:
    """What is fixed in a function makes another one of the device. Its file follows with the other changes."""
    if SHAPE.keys().isdisjoint(request.changes):
        return
    for device in devices:
        await life.reshape(device, config := _shaped(vfs, device, request))
        device.identity(max_queues=config.queues)


def _shaped(vfs: Vfs, device: Device, request: ModifyDevice) -> FunctionConfig:
    config = device.function.state.config
    if request.msix_num is not None or request.num_qps is not None:
        free = vfs.left(vfs.owner(device))
        config = pools.changed(device.name, config, free, request.msix_num, request.num_qps)
    if request.feature_bits is not None:
        config = msgspec.structs.replace(config, features=request.feature_bits)
    if request.max_queue_size is not None:
        config = msgspec.structs.replace(config, queue_size=request.max_queue_size)
    return config


async def _follow(life: Lifecycle, hosts: Hosts, device: Device, request: ModifyDevice) -> None:
    if request.mtu is not None:
        await life.set_representor_mtu(device, request.mtu)
    if request.link is not None:
        await life.follow_link(device)
        await hosts.show_link(device)


def rehearse(devices: Sequence[Device], request: Modify) -> None:
    """Whether all of it can be done, tried on copies. Raises OperatorError."""
    for device in devices:
        for name in request.changes:
            check(device, name)
        apply(device, copied(device.function), request)


def commit(devices: Sequence[Device], request: Modify, keep: Keep) -> list[Effects]:
    """All of the changes to all of the functions and their files, or none. Raises OperatorError."""
    before = [(device, copied(device.function)) for device in devices]
    try:
        changed = [apply(device, device.function, request) for device in devices]
        for device in devices:
            keep(device)
    except errors.OperatorError:
        for device, function in before:
            device.function = function
            with suppress(errors.OperatorError):  # what the operator is told is the first one
                keep(device)
        raise
    return changed


def apply(device: Device, function: AnyFunction, request: Modify) -> Effects:
    """The changes to one function of a device, as far as they can be done. Raises OperatorError."""
    effects = NOTHING
    for name, value in request.changes.items():
        if name in SHAPE:
            continue  # done before the rest
        try:
            effects = effects + SETTERS[name](function, value)
        except Mistake as mistake:
            raise refusal(device, name, mistake) from mistake
    return effects


def check(device: Device, name: str) -> None:
    """Whether a property can be changed at all."""
    if name in VF_ONLY and device.record.vf_id is None:
        raise errors.OperatorError(
            errno.EPERM,
            f"{VF_ONLY[name]} of {device.name} cannot change: it is a {device.record.kind}, and only VFs share a pool. "
            "Set VIRTIO_NET_EMULATION_NUM_MSIX with mlxconfig, or hotplug with another -n.",
        )
    if name in SHAPE and device.export == "vhost-user":
        raise errors.NotSupported(f"changing {name} of {device.name}", SHAPE[name])
    if name in SHAPE and device.function.enabled_vfs:
        raise errors.OperatorError(
            errno.EBUSY,
            f"{name} of {device.name} cannot change while it has {device.function.enabled_vfs} VFs, which would go with"
            " it: have its host write 0 to sriov_numvfs first.",
        )
    if name in SHAPE and device.connected:
        raise errors.OperatorError(
            errno.EBUSY,
            f"{name} of {device.name} cannot change while {device.peer or 'a VMM'} has it: shut that guest down first, "
            "or take the device out of it.",
        )
    if name in OF_THE_VMM and isinstance(device.function, VhostFunction) and device.connected:
        _check_vmm(device, device.function, name)


def _check_vmm(device: Device, function: VhostFunction, name: str) -> None:
    """Whether QEMU can be given another function for this device: nobody may be using the one that it has."""
    if device.record.place is None:
        raise errors.OperatorError(
            errno.EBUSY,
            f"the {name} of {device.name} was fixed by its VMM when that started (export: vhost-user), and the VMM is "
            "not attached, so that it cannot be told: attach it (softdpu host attach QMP_SOCKET), or end it, then "
            "change it.",
        )
    if function.runs:
        raise errors.DriverBound(device.name, name)
    if not function.state.config.link_up:
        raise errors.OperatorError(
            errno.EBUSY,
            f"the {name} of {device.name} cannot change while its link is down, since then nobody can see whether a "
            "driver uses it (export: vhost-user): set the link up first (virtnet modify ... device -l 1).",
        )


def refusal(device: Device, name: str, mistake: Mistake) -> errors.OperatorError:
    """The operator's error for a setting that the function refused."""
    if isinstance(mistake, DriverBound):
        return errors.DriverBound(device.name, name)
    return errors.OperatorError(mistake.errno, f"{str(mistake).rstrip('.')}.")
