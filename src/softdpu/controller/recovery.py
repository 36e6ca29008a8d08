"""Recovery files: one JSON file a device, recovery/<VUID>, so that a reboot of the machine brings it back."""

import logging
import os
from pathlib import Path

import msgspec

from softdpu.controller.devices import Device
from softdpu.controller.identity import mac_text

log = logging.getLogger("softdpu.recovery")
KINDS = {"static PF": ("pf", "static"), "hotplug PF": ("pf", "hotplug"), "VF": ("vf", "vf")}


class RecoveryFile(msgspec.Struct, omit_defaults=True):
    """What a recovery file holds: the documented keys in their order, then ours."""

    port_ib_dev: str
    pf_id: int
    function_type: str
    bdf_raw: int
    device_type: str
    mac: str
    pf_num: int
    sf_num: int
    mq: int  # virtqueues
    vf_id: int | None = None
    mtu: int = 1500
    max_queue_size: int = 256
    num_msix: int = 0
    transitional: int = 0
    features: str = "0x0"


def content(device: Device) -> RecoveryFile:
    """What the file of a device says."""
    record, config = device.record, device.function.state.config
    function_type, device_type = KINDS[record.kind]
    return RecoveryFile(
        port_ib_dev=record.ib_device,
        pf_id=record.pf_id,
        function_type=function_type,
        bdf_raw=record.bdf.raw,
        device_type=device_type,
        mac=mac_text(config.mac),
        pf_num=record.port,
        sf_num=record.sf_num,
        mq=config.queues,
        vf_id=record.vf_id,
        mtu=config.mtu,
        max_queue_size=config.queue_size,
        num_msix=config.vectors,
        transitional=int(config.layout == "transitional"),
        features=hex(config.features),
    )


class Recovery:
    """The recovery files of a root. With ``recovery`` 0 in virtnet.conf none is written or read."""

    def __init__(self, folder: Path, enabled: bool) -> None:
        self._folder = folder
        self._enabled = enabled

    def write(self, device: Device) -> None:
        """Write the device's file, whole or not at all."""
        if not self._enabled:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / device.record.vuid
        draft = path.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(content(device)))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def remove(self, vuid: str) -> None:
        """Forget a device."""
        (self._folder / vuid).unlink(missing_ok=True)

    def read_all(self) -> dict[str, RecoveryFile]:
        """Every readable recovery file by VUID; one that is damaged is named in the log and left alone."""
        found = {}
        for path in sorted(self._folder.glob("*VNETS*")) if self._enabled else ():
            if path.suffix == ".new":
                continue
            try:
                found[path.name] = msgspec.json.decode(path.read_bytes(), type=RecoveryFile)
            except (OSError, msgspec.MsgspecError) as error:
                log.error("%s is not a recovery file (%s): the device is not recovered; delete the file.", path, error)
        return found
