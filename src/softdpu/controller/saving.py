"""``softdpu save``, ``restore`` and ``resume``: a device stands still, is written down, and goes on here or elsewhere.

While that takes its moment, the device's record says that it is ``held``: a controller that dies meanwhile leaves a
device that the next one lets go.
"""

import errno
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from softdpu.controller.devices import Device
from softdpu.controller.errors import NotSupported, OperatorError
from softdpu.controller.lifecycle import Lifecycle
from softdpu.datapath.client import DatapathError
from softdpu.net import saved
from softdpu.net.device import Function
from softdpu.net.mistakes import BadState
from softdpu.net.saved import SavedFunction
from softdpu.net.validation import encode
from softdpu.virtio.outcome import NOTHING
from softdpu.virtio.standing import Standing
from softdpu.virtio.status import BOUND

T = TypeVar("T")
ATTEMPTS = 16  # to look at a device between two register accesses of its driver
log = logging.getLogger("softdpu.saving")


async def save(life: Lifecycle, device: Device, *, stay: bool) -> bytes:
    """The device's saved state; with ``stay`` it is stopped from then on. Raises OperatorError: it is as it was."""
    function = _savable(device)
    async with _held(life, device, function):
        data = saved.encode(await _stands(life, device, function))
        if stay:
            await _keep_stopped(life, device)
    log.info("%s: saved, %d bytes%s", device.name, len(data), "; it stays stopped" if stay else "")
    return data


async def restore(life: Lifecycle, device: Device, data: bytes, *, stay: bool) -> None:
    """The device goes on where a saved one stood; with ``stay`` it is stopped there. Raises OperatorError.

    Its rings are set up in the memory that its VMM maps before it is let go. Where anything is refused it is as it was.
    """
    function = _savable(device)
    state = _decoded(device, function, data)
    _check_free(device, function)
    async with _held(life, device, function):
        before = await _stands(life, device, function)
        await life.update(device, function.put(state) + function.start_effects())
        await _check_rings(life, device, function, state, before)
        if stay:
            await _keep_stopped(life, device)
        else:
            await _let_go(life, device, function, arrived=True)
    log.info("%s: restored, %d bytes%s", device.name, len(data), "; it is stopped" if stay else "")


async def resume(life: Lifecycle, device: Device) -> None:
    """A stopped device goes on. Raises OperatorError."""
    if not (isinstance(device.function, Function) and device.stopped):
        raise OperatorError(errno.EINVAL, f"{device.name} is not stopped: there is nothing to resume.")
    if not device.paused:
        raise OperatorError(
            errno.EPERM,
            f"{device.name} was stopped by its owner, who alone lets it go on: with a command on the administration "
            "virtqueue of its PF, or by a reset.",
        )
    await _let_go(life, device, device.function, arrived=True)
    log.info("%s: goes on", device.name)


async def let_go_of_held(life: Lifecycle) -> None:
    """A controller died in the middle of saving or restoring: what it held goes on."""
    for device in list(life.devices.values()):
        if device.record.held and isinstance(device.function, Function):
            log.warning("%s: goes on, whoever saved or restored it has died", device.name)
            try:
                await _let_go(life, device, device.function)
            except OperatorError as error:
                log.warning("%s", error)  # the datapath has gone, and another one gets a device that is not stopped


# ---- standing still


@asynccontextmanager
async def _held(life: Lifecycle, device: Device, function: Function) -> AsyncIterator[None]:
    """The device stands still; afterwards it goes on, unless it was paused before or ``_keep_stopped`` says so."""
    if device.paused:
        yield
        return
    try:
        device.identity(held=True)
        await life.update(device, function.pause(True))
        yield
    finally:
        if device.record.held:
            await _let_go(life, device, function)


async def _let_go(life: Lifecycle, device: Device, function: Function, *, arrived: bool = False) -> None:
    """It goes on; one that has ``arrived`` may have been elsewhere, and everyone is told where it is now."""
    device.identity(held=False)
    effects = function.pause(False) if device.paused else NOTHING
    await life.update(device, effects + function.arrived() if arrived and not function.state.virtio.held else effects)


async def _keep_stopped(life: Lifecycle, device: Device) -> None:
    device.identity(held=False)
    await life.update(device, NOTHING)


async def _stands(life: Lifecycle, device: Device, function: Function) -> SavedFunction:
    """The saved state of a device that is stopped: registers and rings of one moment."""
    for _ in range(ATTEMPTS):
        before = encode(function.state)

        def seen(standing: Standing, before: bytes = before) -> SavedFunction | None:
            return saved.saved(function.state, standing) if encode(function.state) == before else None

        if (found := await _standing(life, device, seen)) is not None:
            return found
    raise OperatorError(
        errno.EAGAIN,
        f"the driver of {device.name} is busy setting it up, so that no moment of it can be saved: try again in a "
        "second, or pause its guest first.",
    )


async def _standing(life: Lifecycle, device: Device, seen: Callable[[Standing], T]) -> T:
    try:
        return await life.datapath.standing(device.number, seen)
    except DatapathError as error:
        if error.errno == errno.EBUSY:
            raise OperatorError(
                errno.EAGAIN, f"{device.name} was reset meanwhile, by its VMM or because that left: try again."
            ) from error
        reason = str(error).rstrip(".")
        raise OperatorError(error.errno, f"it is not known where {device.name} stands: {reason}.") from error


# ---- what cannot be


def _savable(device: Device) -> Function:
    """The function of a device that can be saved. Raises OperatorError."""
    function = device.function
    if not isinstance(function, Function):
        raise NotSupported(
            f"saving or restoring {device.name} by itself",
            "behind vhost-user (export: vhost-user) its state is a part of its VMM's: save the guest there, for "
            "example with QEMU's migrate to a file, which asks the DPU for what is its.",
        )
    if function.enabled_vfs:
        raise OperatorError(
            errno.EBUSY,
            f"{device.name} has {function.enabled_vfs} VFs enabled, which are devices of their own and would not come "
            "along: have its host make them 0 first (echo 0 > sriov_numvfs), or save each VF by itself.",
        )
    return function


def _decoded(device: Device, function: Function, data: bytes) -> SavedFunction:
    """A state that the device can go on with. Raises OperatorError."""
    cure = "nothing was changed."
    try:
        state = saved.decode(data)
        cure = "restore it into a device that is made like the saved one."
        saved.fitted(state, function.state.config)
    except BadState as error:
        reason = str(error).rstrip(".")
        raise OperatorError(error.errno, f"{device.name} is not restored: {reason}: {cure}") from error
    return state


def _check_free(device: Device, function: Function) -> None:
    """Whether a state may be put into the device: its VMM is there, and nobody's work is lost."""
    if not device.connected:
        raise OperatorError(
            errno.ENOTCONN,
            f"no VMM is connected to {device.name}: connect it first, with the guest's memory. One that connects later "
            "would find a device that was just reset.",
        )
    if function.status & BOUND and not device.stopped:
        raise OperatorError(
            errno.EBUSY,
            f"a driver uses {device.name}, and what it set up would be lost: unbind it first, or stop the device as it "
            "is (softdpu save --stop).",
        )


async def _check_rings(
    life: Lifecycle, device: Device, function: Function, state: SavedFunction, before: SavedFunction
) -> None:
    """Rings that are in no memory of the VMM have been found out by now: the device is then what it was before."""
    await _standing(life, device, lambda _: None)
    pairs = zip(function.state.virtio.queues, state.state.virtio.queues, strict=True)
    if all(now.broken <= then.broken for now, then in pairs):
        return
    cause = function.faults[-1]
    await life.update(device, function.put(before))
    raise OperatorError(
        errno.EFAULT,
        f"{device.name} is not restored: its rings are not where they were in the memory that its VMM maps ({cause}): "
        "restore it into a VMM that has the saved guest's memory.",
    )
