"""What QEMU fixes when it makes its own function of a vhost-user device: changed by having it make the function anew.

The device itself stays, with its number, its representor and its counters; its guest sees a card leave its slot and
come back there with other properties.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from softdpu.controller.devices import Device, Place
from softdpu.controller.errors import OperatorError
from softdpu.controller.hosts import Hosts

log = logging.getLogger("softdpu.replug")


@asynccontextmanager
async def out_of_their_hosts(hosts: Hosts, devices: Sequence[Device]) -> AsyncIterator[None]:
    """The devices leave their hosts, and come back as they are at the end. Raises OperatorError: one did not leave, or
    was not taken back."""
    out: list[tuple[Device, Place]] = []
    try:
        for device in devices:
            place = device.record.place
            assert place is not None
            await hosts.unplug(place, device.function.state.config.vectors)
            device.identity(place=None)
            out.append((device, place))
        yield
    finally:
        refusals = [refusal for device, place in out if (refusal := await _back(hosts, device, place))]
        if refusals:
            raise refusals[0]


async def _back(hosts: Hosts, device: Device, place: Place) -> OperatorError | None:
    try:
        device.identity(place=await hosts.plug(place.host, device, bus=place.bus))
    except OperatorError as error:
        log.error("%s is not taken back by host %s: %s", device.name, place.host, error)
        return OperatorError(
            error.errno,
            f"{device.name} has left host {place.host}, which does not take it back ({str(error).rstrip('.')}): put "
            "that right, then unplug it and hotplug it anew.",
        )
    return None
