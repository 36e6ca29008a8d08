"""Who a device is: ids, VUIDs, PCI addresses, scalable-function numbers, MAC addresses."""

import hashlib
import re
import zlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

STATIC_BUS = 0x14  # where the host sees the static PFs
HOTPLUG_BUS = 0x15  # each hot-plugged PF is alone on a bus behind its port
FIRST_STATIC_FUNCTION = 2  # functions 0 and 1 are the network ports of the card
FIRST_VF = STATIC_BUS << 8 | 5 << 3  # routing id: after the 31 static PFs that there can be
_VUID = re.compile(r"[A-Z0-9]{1,20}VNETS(?P<slot>\d{1,4})D(?P<device>\d{1,2})F(?P<function>[0-7])(VF\d{1,4})?")
FIRST_SF = {"static PF": 1000, "hotplug PF": 2000, "VF": 3000}


class Bdf(msgspec.Struct, frozen=True, order=True):
    """A PCI address: bus, device, function."""

    bus: int
    device: int
    function: int

    def __str__(self) -> str:
        return f"{self.bus:02x}:{self.device:02x}.{self.function}"

    @property
    def raw(self) -> int:
        """The address as its 16-bit routing id."""
        return self.bus << 8 | self.device << 3 | self.function

    @classmethod
    def from_raw(cls, raw: int) -> "Bdf":
        """From a 16-bit routing id."""
        return cls(raw >> 8 & 0xFF, raw >> 3 & 0x1F, raw & 7)

    @classmethod
    def parse(cls, text: str) -> "Bdf":
        """From "01:00.0"."""
        before, _, rest = text.rpartition(":")
        bus = before.rpartition(":")[2]
        device, _, function = rest.partition(".")
        return cls(int(bus, 16), int(device, 16), int(function, 16))


def board(root: Path) -> str:
    """The serial number of this DPU: stable for its root, so that several on one machine differ."""
    return f"MT2447X{zlib.crc32(str(root.resolve()).encode()) % 100000:05d}"


def is_vuid(text: str) -> bool:
    """Whether this has the shape of a VUID; then it can also be part of a path."""
    return _VUID.fullmatch(text) is not None


def hotplug_slot(vuid: str) -> int:
    """The hot-plug slot that a VUID names. Raises ValueError when it is of no hotplug PF."""
    found = _VUID.fullmatch(vuid)
    if found is None or found["slot"] == "0" or (found["device"], found["function"]) != ("0", "0"):
        raise ValueError(f"{vuid} is not the VUID of a hotplug PF, such as MT2151X03152VNETS1D0F0")
    return int(found["slot"]) - 1


def static_vuid(serial: str, pf: int) -> str:
    """VUID of a static PF, e.g. MT2151X03152VNETS0D0F2."""
    device, function = divmod(pf + FIRST_STATIC_FUNCTION, 8)
    return f"{serial}VNETS0D{device}F{function}"


def hotplug_vuid(serial: str, slot: int) -> str:
    """VUID of the PF in a hot-plug slot (0 is the first), e.g. MT2151X03152VNETS1D0F0."""
    return f"{serial}VNETS{slot + 1}D0F0"


def vf_vuid(pf: str, vf: int) -> str:
    """VUID of a VF of the PF with that VUID, e.g. MT2151X03152VNETS0D0F2VF1 for VF 0."""
    return f"{pf}VF{vf + 1}"


def first_vf_offset(pf: int, vfs: int) -> int:
    """How far VF 0 of static PF n is from it, in routing ids, when each PF can have so many."""
    return FIRST_VF + pf * vfs - static_bdf(pf).raw


def first_hotplug_bus(pfs: int, vfs: int) -> int:
    """The first bus without VFs."""
    return max(HOTPLUG_BUS, (FIRST_VF + pfs * vfs - 1 >> 8) + 1) if vfs else HOTPLUG_BUS


def static_bdf(pf: int) -> Bdf:
    """Where the host sees static PF n."""
    return Bdf(STATIC_BUS, *divmod(pf + FIRST_STATIC_FUNCTION, 8))


def hotplug_bdf(slot: int, first: int = HOTPLUG_BUS) -> Bdf:
    """Where the host sees the PF of a hot-plug slot, until a host says otherwise; ``first`` is the bus of slot 0."""
    return Bdf(first + slot, 0, 0)


def lowest_free(taken: Iterable[int], first: int = 0) -> int:
    """The smallest number from ``first`` on that is not taken."""
    used = set(taken)
    number = first
    while number in used:
        number += 1
    return number


def mac_from(base: bytes, number: int) -> bytes:
    """MAC of device n of a series: base + n."""
    return (int.from_bytes(base) + number & (1 << 48) - 1).to_bytes(6)


def mac_of(vuid: str) -> bytes:
    """A stable, locally administered MAC for a device that nobody gave one."""
    return b"\x02" + hashlib.sha256(vuid.encode()).digest()[:5]


def mac_text(mac: bytes) -> str:
    """A MAC as the operator reads it: 0c:c4:7a:ff:22:93."""
    return mac.hex(":")


def representor_name(port: int, sf: int) -> str:
    """The netdev at the DPU's end, as on BlueField: en3f0pf0sf2000."""
    return f"en3f{port}pf{port}sf{sf}"
