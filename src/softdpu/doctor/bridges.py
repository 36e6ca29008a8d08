"""The PCI bridges of a machine that devices can be plugged into, as sysfs shows them, with their I/O windows."""

from pathlib import Path

import msgspec

from softdpu.pci.windows import LOWEST_PORT, WINDOW

# PCI-to-PCI Bridge 1.2 §3.2; PCI Express Base 5.0 §7.5.3
STATUS, HEADER_TYPE, IO_BASE, IO_LIMIT, CAPABILITIES = 0x06, 0x0E, 0x1C, 0x1D, 0x34
HAS_CAPABILITIES = 1 << 4
BRIDGE = 1
EXPRESS = 0x10
SLOT_CAPABILITIES = 0x14  # in the PCI Express capability
SLOT_IMPLEMENTED = 1 << 8  # in its capabilities register
HOT_PLUG_CAPABLE = 1 << 6
SHOWN_TO_ALL = 64  # bytes of configuration space that others than root see


class Port(msgspec.Struct, frozen=True):
    """A bridge with a slot for hot plug."""

    address: str
    base: int  # first I/O port of its window
    limit: int  # last one; below ``base``: it has no window

    @property
    def windows(self) -> int:
        """4 KiB windows that it passes on."""
        return (self.limit + 1 - self.base) // WINDOW if LOWEST_PORT <= self.base <= self.limit else 0


def hotplug_ports(devices: Path) -> tuple[Port, ...]:
    """The hot-plug ports among a directory such as ``/sys/bus/pci/devices``, by address.

    Raises:
        PermissionError: only the first 64 bytes of configuration space are shown, as to anybody but root.
    """
    ports = [_port(device) for device in sorted(devices.iterdir())] if devices.is_dir() else []
    return tuple(port for port in ports if port)


def _port(device: Path) -> Port | None:
    config = (device / "config").read_bytes()
    if len(config) < SHOWN_TO_ALL or config[HEADER_TYPE] & 0x7F != BRIDGE:
        return None
    if len(config) == SHOWN_TO_ALL:
        raise PermissionError
    if not _hot_plug(config):
        return None
    base, limit = (config[at] >> 4 << 12 for at in (IO_BASE, IO_LIMIT))
    return Port(device.name, base, limit | WINDOW - 1)


def _hot_plug(config: bytes) -> bool:
    at = _capability(config, EXPRESS)
    if at is None:
        return False
    flags = int.from_bytes(config[at + 2 : at + 4], "little")
    slot = int.from_bytes(config[at + SLOT_CAPABILITIES :][:4], "little")
    return bool(flags & SLOT_IMPLEMENTED and slot & HOT_PLUG_CAPABLE)


def _capability(config: bytes, wanted: int) -> int | None:
    at = config[CAPABILITIES] & 0xFC if config[STATUS] & HAS_CAPABILITIES else 0
    for _ in range(48):  # as many as fit: a list that loops ends too
        if at < SHOWN_TO_ALL or at + 1 >= len(config):
            return None
        if config[at] == wanted:
            return at
        at = config[at + 1] & 0xFC
    return None
