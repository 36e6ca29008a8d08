"""What an operator can ask for: one structure a request, checked field by field as it is decoded.

A bad value raises ``InvalidValue`` (EINVAL) with the sentence that the operator reads; a structure that exists is good.
"""

import errno
import os
from typing import Any, Literal, TypeAlias

import msgspec

from softdpu.controller.errors import InvalidValue, OperatorError
from softdpu.controller.export import Wish
from softdpu.controller.root import SOCKET_PATH_LIMIT
from softdpu.net.settings import LONGEST_HELD, MOST_HELD, MOST_MODES

Json: TypeAlias = dict[str, Any]

SUCCESS: Json = {"errno": 0, "errstr": "Success"}

MTU_RANGE = range(68, 9217)
QUEUE_SIZES = tuple(1 << n for n in range(1, 16))  # 2..32768
SPEEDS = range(0, 0x8000_0000)  # Mb/s, virtio 1.3 §5.1.4
STATES = range(0x100)  # device_status
RX_MODES = range(MOST_MODES + 1)
PERIODS = range(LONGEST_HELD + 1)  # µs
MAX_COUNTS = range(MOST_HELD + 1)
MOST_VECTORS = 2048  # of the MSI-X capability (PCI 3.0 §6.8.2)
MOST_QUEUES = 65  # 32 pairs and the control queue


def parse_mac(text: str, what: str = "mac") -> bytes:
    """Six bytes from ``0C:C4:7A:FF:22:93`` or ``0c-c4-7a-ff-22-93``; a multicast or zero address is refused."""
    parts = text.replace("-", ":").split(":")
    if len(parts) != 6 or not all(len(part) == 2 and is_hex(part) for part in parts):
        raise InvalidValue(what, text, "six two-digit hexadecimal bytes, such as 0C:C4:7A:FF:22:93")
    mac = bytes.fromhex("".join(parts))
    if mac == bytes(6):
        raise InvalidValue(what, text, "an address other than zero, such as 0C:C4:7A:FF:22:93")
    if mac[0] & 1:
        raise InvalidValue(what, text, "a unicast address: the lowest bit of the first byte must be 0")
    return mac


def is_hex(text: str) -> bool:
    """Whether every character is an ASCII hexadecimal digit."""
    return bool(text) and all(character in "0123456789abcdefABCDEF" for character in text)


def parse_features(text: str, what: str = "features") -> int:
    """A feature mask of any width from hexadecimal text, ``0x`` optional."""
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    if not is_hex(digits) or len(digits) > 32:
        raise InvalidValue(what, text, "a hexadecimal number of up to 128 bits, such as 0x80000")
    return int(digits, 16)


def check_mtu(mtu: int) -> None:
    """68..9216 (virtio 1.3 §5.1.4: not less than 68)."""
    if mtu not in MTU_RANGE:
        raise InvalidValue("mtu", mtu, f"{MTU_RANGE.start}..{MTU_RANGE.stop - 1}")


def check_queue_size(size: int) -> None:
    """A power of two in 2..32768."""
    if size not in QUEUE_SIZES:
        raise InvalidValue("max_queue_size", size, "a power of two from 2 to 32768")


def check_connect(path: str, export: Wish | None) -> None:
    """An absolute path that a socket can have, or nothing."""
    if export == "vfio-user":
        raise OperatorError(
            errno.EINVAL,
            "over vfio-user it is the VMM that connects, so --connect does not go with --export vfio-user: "
            "leave one away.",
        )
    if path and (not path.startswith("/") or "\0" in path or len(os.fsencode(path)) > SOCKET_PATH_LIMIT):
        raise InvalidValue("connect", path, f"an absolute path of at most {SOCKET_PATH_LIMIT} bytes")


def check_at_least(what: str, value: int | None, least: int) -> None:
    """A count that is not below its least value."""
    if value is not None and value < least:
        raise InvalidValue(what, value, f"{least} or more")


def check_within(what: str, value: int | None, accepted: range) -> None:
    """A number of a range."""
    if value is not None and value not in accepted:
        raise InvalidValue(what, value, f"{accepted.start}..{accepted.stop - 1}")


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all requests: unknown fields are refused."""


class Hotplug(Request, frozen=True, kw_only=True):
    """Plug a new PF into the host. ``max_queues`` counts virtqueues: 3 is receive, transmit and control."""

    ib_device: str
    mac: str
    mtu: int
    max_queues: int
    max_queue_size: int
    features: str = "0x0"  # hexadecimal, added to the defaults
    sf_num: int | None = None
    legacy: bool = False  # transitional
    num_msix: int | None = None  # MSI-X vectors; 0: INTx only; None: as the firmware says
    host: str | None = None  # which attached host; None: the only one
    export: Wish | None = None  # None: as virtnet.conf says
    connect: str | None = None  # over vhost-user to a VMM that listens at this path; empty: at the device's usual one

    def __post_init__(self) -> None:
        parse_mac(self.mac)
        check_mtu(self.mtu)
        if self.max_queues not in range(2, MOST_QUEUES + 1):
            raise InvalidValue(
                "max_queues",
                self.max_queues,
                f"2..{MOST_QUEUES}",
                "It counts virtqueues: 3 is receive, transmit and control.",
            )
        check_queue_size(self.max_queue_size)
        parse_features(self.features)
        if self.sf_num is not None and self.sf_num not in range(1000, 0x10000):
            raise InvalidValue("sf_num", self.sf_num, "1000..65535", "Leave -u away to have one chosen.")
        if self.num_msix is not None and self.num_msix not in range(MOST_VECTORS + 1):
            raise InvalidValue("num_msix", self.num_msix, f"0..{MOST_VECTORS}", "0 is a device with INTx only.")
        if self.host is not None:
            check_host_name(self.host)
        if self.connect is not None:
            check_connect(self.connect, self.export)

    @property
    def wish(self) -> Wish | None:
        """How it is to be exported: a VMM that listens can only be over vhost-user."""
        return self.export if self.connect is None else "vhost-user"

    @property
    def mac_bytes(self) -> bytes:
        """The MAC address, 6 bytes."""
        return parse_mac(self.mac)

    @property
    def feature_bits(self) -> int:
        """The extra features as a mask of any width."""
        return parse_features(self.features)


class DeviceRef(Request, frozen=True, kw_only=True):
    """Which device: a PF, a VF of a PF, or a VUID."""

    pf: int | None = None
    vf: int | None = None
    vuid: str | None = None

    def __post_init__(self) -> None:
        self.check(required=True)

    def check(self, required: bool) -> None:
        """At most one way of naming a device; with ``required``, exactly one."""
        if self.pf is not None and self.vuid is not None:
            raise OperatorError(errno.EINVAL, "a device is named by -p (and -v) or by -u, not by both: leave one away.")
        if self.vf is not None and self.pf is None:
            raise OperatorError(errno.EINVAL, "a VF is named together with its PF: add -p PF (see virtnet list).")
        if required and self.pf is None and self.vuid is None:
            raise OperatorError(
                errno.EINVAL, "no device is named: give -p PF [-v VF] or -u VUID (see virtnet list for both)."
            )
        check_at_least("pf", self.pf, 0)
        check_at_least("vf", self.vf, 0)

    @property
    def name(self) -> str:
        """The device as the operator named it, for sentences."""
        if self.vuid is not None:
            return self.vuid
        return f"pf {self.pf}" if self.vf is None else f"pf {self.pf} vf {self.vf}"


class Query(DeviceRef, frozen=True, kw_only=True):
    """What ``virtnet query`` shows; no device named and not ``all`` is refused."""

    all: bool = False
    queue: int | None = None
    brief: bool = False  # no queue information

    def __post_init__(self) -> None:
        self.check(required=not self.all)
        check_at_least("queue", self.queue, 0)


class Stats(DeviceRef, frozen=True, kw_only=True):
    """What ``virtnet stats`` shows."""

    queue_id: int | None = None

    def __post_init__(self) -> None:
        self.check(required=True)
        check_at_least("queue_id", self.queue_id, 0)


class Modify(DeviceRef, frozen=True, kw_only=True):
    """Change something of a device, or of all; what is None stays as it is."""

    all: bool = False

    @property
    def changes(self) -> dict[str, Any]:
        """What to change, by name, in the order declared."""
        return {name: value for name in self.options() if (value := getattr(self, name)) is not None}

    @classmethod
    def options(cls) -> list[str]:
        """The names of what can be changed."""
        return [name for name in cls.__struct_fields__ if name not in ("pf", "vf", "vuid", "all")]

    def check_changes(self, example: str) -> None:
        """There is something to change."""
        if not self.changes:
            raise OperatorError(errno.EINVAL, f"nothing to modify: give at least one option, such as {example}.")


class ModifyDevice(Modify, frozen=True, kw_only=True):
    """Change properties of a device."""

    mac: str | None = None
    mtu: int | None = None
    speed: int | None = None  # Mb/s
    link: Literal[0, 1] | None = None
    state: int | None = None
    features: str | None = None  # hexadecimal
    rx_mode: int | None = None
    msix_num: int | None = None
    max_queue_size: int | None = None
    num_qps: int | None = None
    dim_config: Literal["enable", "disable"] | None = None

    def __post_init__(self) -> None:
        self.check(required=not self.all)
        if self.mac is not None:
            parse_mac(self.mac)
            self.refuse_one_mac_for_all()
        if self.mtu is not None:
            check_mtu(self.mtu)
        if self.max_queue_size is not None:
            check_queue_size(self.max_queue_size)
        if self.features is not None:
            parse_features(self.features)
        if self.speed is not None and self.speed not in SPEEDS:
            raise InvalidValue("speed", self.speed, f"0..{SPEEDS.stop - 1} Mb/s")
        check_at_least("msix_num", self.msix_num, 0)
        check_at_least("num_qps", self.num_qps, 1)
        check_within("state", self.state, STATES)
        check_within("rx_mode", self.rx_mode, RX_MODES)
        self.check_changes("-m MAC or -t MTU")

    def refuse_one_mac_for_all(self) -> None:
        """Two devices with one address would cut each other off."""
        if self.all:
            raise OperatorError(errno.EINVAL, "one MAC for all devices is refused: modify them one by one (-p PF).")

    @property
    def mac_bytes(self) -> bytes | None:
        """The MAC address, 6 bytes."""
        return None if self.mac is None else parse_mac(self.mac)

    @property
    def feature_bits(self) -> int | None:
        """The features as a mask of any width."""
        return None if self.features is None else parse_features(self.features)


class ModifyQueue(Modify, frozen=True, kw_only=True):
    """Change how a device's queues moderate interrupts."""

    period_mode: Literal["event", "cqe"] | None = None
    period: int | None = None  # microseconds
    max_count: int | None = None

    def __post_init__(self) -> None:
        self.check(required=not self.all)
        check_within("period", self.period, PERIODS)
        check_within("max_count", self.max_count, MAX_COUNTS)
        self.check_changes("-n PERIOD -c MAX_COUNT")


class Save(DeviceRef, frozen=True, kw_only=True):
    """Save a device; with ``stop`` it is stopped from then on."""

    stop: bool = False


class Restore(DeviceRef, frozen=True, kw_only=True):
    """Have a device go on where a saved one stood; with ``stop`` it is stopped there."""

    state: bytes  # base64
    stop: bool = False


class Log(Request, frozen=True, kw_only=True):
    """How much the controller logs."""

    level: Literal["info", "err", "debug"]


class PowerCycle(Request, frozen=True, kw_only=True):
    """Power cycle of host and DPU; refused while a driver uses a device, unless forced."""

    force: bool = False


class SetVfs(Request, frozen=True, kw_only=True):
    """How many VFs a static PF has from now on: what a host writes to sriov_numvfs."""

    pf: int
    num_vfs: int
    force: bool = False  # take VFs away from QEMUs too

    def __post_init__(self) -> None:
        check_at_least("pf", self.pf, 0)
        check_at_least("num_vfs", self.num_vfs, 0)


class HostAttach(Request, frozen=True, kw_only=True):
    """A QEMU machine to plug devices into: the path of its QMP socket, and what to call it."""

    qmp: str
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.qmp.startswith("/") or "\0" in self.qmp:
            raise InvalidValue("qmp", self.qmp, "the absolute path of a QMP socket")
        if self.name is not None:
            check_host_name(self.name)


class HostDetach(Request, frozen=True, kw_only=True):
    """Forget a host; its devices stay where they are until unplugged."""

    name: str

    def __post_init__(self) -> None:
        check_host_name(self.name)


def check_host_name(name: str) -> None:
    """1 to 32 letters, digits, dots, dashes or underlines."""
    if not 0 < len(name) <= 32 or not all(c.isascii() and (c.isalnum() or c in "._-") for c in name):
        raise InvalidValue("host name", name, "1 to 32 of letters, digits, '.', '-' and '_'")


class Sample(msgspec.Struct, frozen=True):
    """One value of a metric, with its labels in the family's order."""

    labels: tuple[str, ...]
    value: float


class Family(msgspec.Struct, frozen=True):
    """One metric: a Prometheus name (counters without ``_total``), its help, its label names, its values."""

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
