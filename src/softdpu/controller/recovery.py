"""Recovery files: one JSON file a device, recovery/<VUID>, so that a reboot of the machine brings it back."""

import logging
import stat
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from softdpu.controller import durable
from softdpu.controller.devices import Device
from softdpu.controller.errors import OperatorError
from softdpu.controller.export import Export
from softdpu.controller.identity import is_vuid, mac_text
from softdpu.controller.requests import (
    MOST_QUEUES,
    MOST_VECTORS,
    check_mtu,
    check_queue_size,
    parse_features,
    parse_mac,
)
from softdpu.controller.root import SOCKET_PATH_LIMIT
from softdpu.net.settings import LONGEST_HELD, MOST_HELD, MOST_MODES
from softdpu.net.state import Moderation

log = logging.getLogger("softdpu.recovery")
LARGEST = 64 << 10  # bytes; a file is a few hundred
KINDS: dict[str, tuple[Literal["pf", "vf"], Literal["static", "hotplug", "vf"]]] = {
    "static PF": ("pf", "static"),
    "hotplug PF": ("pf", "hotplug"),
    "VF": ("vf", "vf"),
}
Index = Annotated[int, msgspec.Meta(ge=0, le=1023)]


class RecoveryFile(msgspec.Struct, omit_defaults=True, frozen=True):
    """What a recovery file holds: the documented keys in their order, then ours. One that exists is good."""

    port_ib_dev: str
    pf_id: Index
    function_type: Literal["pf", "vf"]
    bdf_raw: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
    device_type: Literal["static", "hotplug", "vf"]
    mac: str
    pf_num: Annotated[int, msgspec.Meta(ge=0, le=1)]
    sf_num: Annotated[int, msgspec.Meta(ge=1000, le=0xFFFF)]
    mq: Annotated[int, msgspec.Meta(ge=2, le=MOST_QUEUES)]  # virtqueues
    vf_id: Index | None = None
    mtu: int = 1500
    max_queue_size: int = 256
    num_msix: Annotated[int, msgspec.Meta(ge=0, le=MOST_VECTORS)] | None = None  # None: as the firmware says
    transitional: Literal[0, 1] = 0
    features: str = "0x0"
    link: Literal[0, 1] = 1
    speed: Annotated[int, msgspec.Meta(ge=0, le=0x7FFF_FFFF)] = 25000
    export: Export = "vfio-user"
    export_reason: Annotated[str, msgspec.Meta(max_length=256)] = ""
    connects_to: Annotated[str, msgspec.Meta(max_length=SOCKET_PATH_LIMIT)] = ""
    configured: str = "0x0"  # features that virtnet.conf had for a static PF: of another file, those hold that it has
    rx_mode: Annotated[int, msgspec.Meta(ge=0, le=MOST_MODES)] | None = None
    rq_cq_max_count: Annotated[int, msgspec.Meta(ge=0, le=MOST_HELD)] = 0
    rq_cq_period: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_HELD)] = 0
    rq_cq_period_mode: Literal["event", "cqe"] = "event"
    dim: Literal[0, 1] = 0
    boot: Annotated[str, msgspec.Meta(max_length=64)] = ""  # of a VF: the boot of the machine in which it was made

    def __post_init__(self) -> None:
        parse_mac(self.mac)
        check_mtu(self.mtu)
        check_queue_size(self.max_queue_size)
        parse_features(self.features)
        parse_features(self.configured, "configured")

    @property
    def mac_bytes(self) -> bytes:
        """The MAC address, 6 bytes."""
        return parse_mac(self.mac)

    @property
    def chosen(self) -> dict[str, Any]:
        """What an operator changes in a device at any time: fields of its configuration."""
        return {
            "mac": self.mac_bytes,
            "mtu": self.mtu,
            "speed": self.speed,
            "link_up": bool(self.link),
            "rx_mode": self.rx_mode,
            "moderation": Moderation(
                packets=self.rq_cq_max_count,
                microseconds=self.rq_cq_period,
                mode=self.rq_cq_period_mode,
                dynamic=bool(self.dim),
            ),
        }


def content(device: Device, boot: str = "") -> RecoveryFile:
    """What the file of a device says; ``boot`` for one that does not outlive that boot of the machine."""
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
        transitional=1 if config.layout == "transitional" else 0,
        features=hex(config.features),
        link=1 if config.link_up else 0,
        speed=config.speed,
        export=device.export,
        export_reason=record.export_reason,
        connects_to=record.connects_to,
        configured=hex(record.configured),
        rx_mode=config.rx_mode,
        rq_cq_max_count=config.moderation.packets,
        rq_cq_period=config.moderation.microseconds,
        rq_cq_period_mode=config.moderation.mode,
        dim=1 if config.moderation.dynamic else 0,
        boot=boot,
    )


class Recovery:
    """The recovery files of a root. With ``recovery`` 0 in virtnet.conf none is written or read."""

    def __init__(self, folder: Path, enabled: bool) -> None:
        self._folder = folder
        self._enabled = enabled

    def write(self, device: Device, boot: str = "") -> None:
        """Write the device's file, whole or not at all. Raises NotWritten.

        With ``boot`` nobody waits for the disk, for the file is of use until the machine goes down.
        """
        if self._enabled:
            path, text = self._folder / device.record.vuid, msgspec.json.encode(content(device, boot))
            durable.replace(path, text, sync=not boot)

    def remove(self, vuid: str) -> None:
        """Forget a device. Raises NotWritten."""
        durable.remove(self._folder / vuid)

    def clear(self) -> None:
        """Forget all devices, and what is left of files that were being written. Raises NotWritten."""
        for path in self._folder.glob("*VNETS*"):
            if not path.is_dir():
                durable.remove(path)

    def read_all(self) -> dict[str, RecoveryFile]:
        """Every usable recovery file by VUID; one that is damaged is named in the log and left alone."""
        found = {}
        for path in sorted(self._folder.glob("*VNETS*")) if self._enabled else ():
            if path.name.startswith("."):
                continue  # was being written when the power failed
            try:
                found[path.name] = _read(path)
            except (OSError, ValueError, RecursionError, OperatorError) as error:
                reason = str(error).rstrip(".")
                log.error("%s is not a recovery file (%s): the device is not recovered; delete the file.", path, reason)
        return found


def _read(path: Path) -> RecoveryFile:
    if not is_vuid(path.name):
        raise ValueError("its name is no VUID")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
        raise ValueError(f"it is no file of at most {LARGEST} bytes")
    return msgspec.json.decode(path.read_bytes(), type=RecoveryFile)
