"""What a host's kernel sees of the functions on its bus: addresses, configuration space, BARs."""

from collections.abc import Iterable, Mapping, Sequence

from softdpu.controller.devices import Device
from softdpu.controller.root import Root
from softdpu.host.simulated.functions import PciFunction, Resource
from softdpu.net.device import Function


def functions(devices: Iterable[Device], root: Root) -> list[PciFunction]:
    """Those that are plugged into no QEMU, by address; VMMs are the functions of vhost-user devices themselves."""
    seen = [device for device in devices if device.record.place is None and isinstance(device.function, Function)]
    pfs = {device.record.pf_id: _address(device) for device in seen if device.record.vf_id is None}
    vfs: dict[int, list[str]] = {}
    for device in sorted(seen, key=lambda device: device.record.vf_id or 0):
        if device.record.vf_id is not None:
            vfs.setdefault(device.record.pf_id, []).append(_address(device))
    functions = (_function(device, root, pfs.get(device.record.pf_id), vfs) for device in seen)
    return sorted(functions, key=lambda function: function.address)


def _function(device: Device, root: Root, pf: str | None, vfs: Mapping[int, Sequence[str]]) -> PciFunction:
    function, record = device.function, device.record
    assert isinstance(function, Function)
    virtual = record.vf_id is not None
    return PciFunction(
        address=_address(device),
        vuid=device.name,
        socket=str(root.export(device.name)),
        config=function.configuration_space,
        resources=tuple(Resource(bar.index, bar.size, bar.flags) for bar in function.bars),
        total_vfs=function.total_vfs,
        vfs=() if virtual else tuple(vfs.get(record.pf_id, ())),
        physfn=pf if virtual else None,
        in_use=device.connected,
    )


def _address(device: Device) -> str:
    return f"0000:{device.record.bdf}"
