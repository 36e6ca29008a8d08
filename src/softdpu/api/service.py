"""What the HTTP interface needs from a controller. The interface only translates; every decision is behind this.

Each method raises ``OperatorError`` when it refuses. A reply is the operator's JSON, keys in the documented order, and
is passed on as it is. Replies of verbs that change something end in ``"errno": 0, "errstr": "Success"``.
"""

from collections.abc import Sequence
from typing import Protocol

from softdpu.controller.requests import (
    DeviceRef,
    Family,
    HostAttach,
    HostDetach,
    Hotplug,
    Json,
    Log,
    ModifyDevice,
    ModifyQueue,
    PowerCycle,
    Query,
    Restore,
    Save,
    SetVfs,
    Stats,
)


class Service(Protocol):
    """A controller, as the operator sees it."""

    async def hotplug(self, request: Hotplug) -> Json:
        """``bdf, vuid, id, transitional, sf_rep_net_device, mac, errno, errstr`` of the new device."""

    async def unplug(self, device: DeviceRef) -> Json:
        """Unplug a hotplug PF and release its representor."""

    async def set_vfs(self, request: SetVfs) -> Json:
        """``pf_id`` and ``num_vfs``: the VFs that the PF has now."""

    async def list_devices(self) -> Json:
        """``controller`` and ``devices``."""

    async def query(self, request: Query) -> Json:
        """``devices``: each with features, status and, unless brief, its enabled queues."""

    async def stats(self, request: Stats) -> Json:
        """``device``: packet counters of its queues."""

    async def modify_device(self, request: ModifyDevice) -> Json:
        """All of the changes, or none."""

    async def modify_queue(self, request: ModifyQueue) -> Json:
        """Interrupt moderation of a device's queues."""

    async def save(self, request: Save) -> Json:
        """``vuid``, whether it is ``stopped`` now, and its ``state``, base64."""

    async def restore(self, request: Restore) -> Json:
        """``vuid`` of the device that goes on as saved, and whether it is ``stopped``."""

    async def resume(self, request: DeviceRef) -> Json:
        """``vuid`` of the stopped device that goes on."""

    async def log(self, request: Log) -> Json:
        """Set how much is logged."""

    async def version(self) -> Json:
        """``Original Controller`` and ``Destination Controller``: running, and installed; each ``vX.Y.Z``."""

    async def update_start(self) -> Json:
        """Begin a live update."""

    async def update_status(self) -> Json:
        """``current status``, ``last status``, ``time_used (s)``."""

    async def health(self) -> Json:
        """The service and each device: whether it is well, and if not, why."""

    async def restart(self) -> Json:
        """Fast restart; the reply goes out first, no device is lost."""

    async def stop(self) -> Json:
        """End the controller and its datapath; the reply goes out first."""

    async def power_cycle(self, request: PowerCycle) -> Json:
        """Next boot becomes current; hotplug devices are gone, static PFs are new."""

    async def host_attach(self, request: HostAttach) -> Json:
        """Plug devices into this QEMU from now on."""

    async def host_detach(self, request: HostDetach) -> Json:
        """Forget a host."""

    async def hosts(self) -> Json:
        """``hosts``: each with its name, QMP socket, QEMU version and free ports."""

    async def functions(self) -> Json:
        """``functions``: each PCI function that is plugged into no QEMU, as ``host.simulated.functions`` has it."""

    async def explain(self, device: DeviceRef) -> Json:
        """The feature negotiation of a device: ``pf_id``, ``vuid``, ``mode``, ``features``: one object a bit with
        ``bit``, ``name``, ``offered``, ``accepted`` and ``why``."""

    async def state(self, device: DeviceRef) -> Json:
        """All that is known of a device, as ``controller.dump`` has it."""

    async def qemu_arguments(self) -> Json:
        """``arguments``: a list of strings for a QEMU command line that plugs every function in by hand."""

    async def metrics(self) -> Sequence[Family]:
        """Everything worth counting."""
