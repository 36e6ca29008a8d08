"""A small real controller for the interface's tests: it keeps devices in memory, and refuses as a controller would."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

from softdpu.controller.errors import DriverBound, NoSuchDevice, NoSuchIbDevice, NotSupported
from softdpu.controller.requests import (
    SUCCESS,
    DeviceRef,
    Family,
    HostAttach,
    HostDetach,
    Hotplug,
    Json,
    Log,
    Modify,
    ModifyDevice,
    ModifyQueue,
    PowerCycle,
    Query,
    Restore,
    Sample,
    Save,
    SetVfs,
    Stats,
)
from softdpu.firmware import FirmwareError


class Desk:
    """Implements ``Service``. ``bound``: VUIDs whose driver is bound; ``leave`` is told how it was told to leave."""

    def __init__(self, leave: Callable[[str], None]) -> None:
        self.leave = leave
        self.devices: list[Json] = []
        self.bound: set[str] = set()
        self.attached: dict[str, str] = {}
        self.level = "info"

    def _find(self, wanted: DeviceRef) -> Json:
        for device in self.devices:
            if wanted.vf is None and (device["pf_id"] == wanted.pf or device["vuid"] == wanted.vuid):
                return device
        raise NoSuchDevice(wanted.name, (f"pf {device['pf_id']}" for device in self.devices))

    async def hotplug(self, request: Hotplug) -> Json:
        if request.ib_device not in ("mlx5_0", "mlx5_1"):
            raise NoSuchIbDevice(request.ib_device, ("mlx5_0", "mlx5_1"))
        number = len(self.devices)
        device = {
            "pf_id": number,
            "function_type": "hotplug PF",
            "transitional": int(request.legacy),
            "vuid": f"MT2447X00000VNETS{number + 1}D0F0",
            "mac": request.mac_bytes.hex(":").upper(),
            "mtu": str(request.mtu),
        }
        self.devices.append(device)
        return {
            "bdf": f"{0x15 + number:02x}:00.0",
            "vuid": device["vuid"],
            "id": number,
            "transitional": device["transitional"],
            "sf_rep_net_device": f"en3f0pf0sf{2000 + number}",
            "mac": device["mac"],
            **SUCCESS,
        }

    async def unplug(self, device: DeviceRef) -> Json:
        self.devices.remove(self._find(device))
        return dict(SUCCESS)

    async def set_vfs(self, request: SetVfs) -> Json:
        self._find(DeviceRef(pf=request.pf))
        return {"pf_id": request.pf, "num_vfs": request.num_vfs, **SUCCESS}

    async def list_devices(self) -> Json:
        return {"controller": {"emulation_manager": "mlx5_0"}, "devices": self.devices}

    async def query(self, request: Query) -> Json:
        chosen = self.devices if request.all else [self._find(request)]
        return {"devices": [device | ({} if request.brief else {"enabled-queues-info": []}) for device in chosen]}

    async def stats(self, request: Stats) -> Json:
        queue = request.queue_id or 0
        stats = [{"VQ Index": queue, "rx_64_or_less_octet_packets": 0}]
        return {"device": {"pf_id": self._find(request)["pf_id"], "queues-stats": stats}}

    async def modify_device(self, request: ModifyDevice) -> Json:
        return self._modify(request)

    def _modify(self, request: Modify) -> Json:
        if "rx_mode" in request.changes:
            raise NotSupported("rx_mode", "no driver tells it here.")
        for device in self.devices if request.all else [self._find(request)]:
            if device["vuid"] in self.bound:
                raise DriverBound(device["vuid"], "mac")
            device.update({name: str(value) for name, value in request.changes.items()})
        return dict(SUCCESS)

    async def modify_queue(self, request: ModifyQueue) -> Json:
        return self._modify(request)

    async def save(self, request: Save) -> Json:
        found = self._find(request)
        state = base64.b64encode(found["mac"].encode()).decode()
        found["stopped"] = int(request.stop)
        return {"vuid": found["vuid"], "stopped": found["stopped"], "state": state, **SUCCESS}

    async def restore(self, request: Restore) -> Json:
        found = self._find(request)
        found["mac"], found["stopped"] = request.state.decode(), int(request.stop)
        return {"vuid": found["vuid"], "stopped": found["stopped"], **SUCCESS}

    async def resume(self, request: DeviceRef) -> Json:
        found = self._find(request)
        found["stopped"] = 0
        return {"vuid": found["vuid"], **SUCCESS}

    async def log(self, request: Log) -> Json:
        self.level = request.level
        return dict(SUCCESS)

    async def version(self) -> Json:
        return {"Original Controller": "v0.1.0", "Destination Controller": "v0.1.1"}

    async def update_start(self) -> Json:
        self.leave("update")
        return dict(SUCCESS)

    async def update_status(self) -> Json:
        return {"current status": "inactive", "last status": "success", "time_used (s)": 1.655439}

    async def health(self) -> Json:
        return {"service": {"healthy": 1}, "devices": []}

    async def restart(self) -> Json:
        self.leave("restart")
        return dict(SUCCESS)

    async def stop(self) -> Json:
        self.leave("stop")
        return dict(SUCCESS)

    async def power_cycle(self, request: PowerCycle) -> Json:
        if self.bound and not request.force:
            raise FirmwareError("hosts use devices: add --force.")
        self.leave("power-cycle")
        return dict(SUCCESS)

    async def host_attach(self, request: HostAttach) -> Json:
        self.attached[request.name or "host0"] = request.qmp
        return {"name": request.name or "host0", **SUCCESS}

    async def host_detach(self, request: HostDetach) -> Json:
        del self.attached[request.name]  # a KeyError is this controller's own mistake: one test wants to see one
        return dict(SUCCESS)

    async def hosts(self) -> Json:
        return {"hosts": [{"name": name, "qmp": qmp} for name, qmp in self.attached.items()]}

    async def functions(self) -> Json:
        return {"functions": [{"address": "0000:14:00.2", "vuid": device["vuid"]} for device in self.devices]}

    async def explain(self, device: DeviceRef) -> Json:
        bit: dict[str, Any] = {"bit": 32, "name": "VIRTIO_F_VERSION_1", "offered": True, "accepted": False}
        found = self._find(device)
        return {
            "pf_id": found["pf_id"],
            "vuid": found["vuid"],
            "mode": "legacy",
            "features": [bit | {"why": "a legacy driver sees bits 0 to 31 only"}],
        }

    async def state(self, device: DeviceRef) -> Json:
        return {"vuid": self._find(device)["vuid"], "state": {}}

    async def qemu_arguments(self) -> Json:
        return {"arguments": ["-device", '{"driver":"vfio-user-pci"}']}

    async def metrics(self) -> Sequence[Family]:
        samples = tuple(Sample((device["vuid"],), 5) for device in self.devices)
        return (Family("softdpu_frames", "Frames moved.", "counter", ("vuid",), samples),)
