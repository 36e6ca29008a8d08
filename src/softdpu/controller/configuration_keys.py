"""The keys of virtnet.conf, once: the reader, its refusals and the reference page read this table."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import msgspec

from softdpu.controller.export import Wish
from softdpu.controller.requests import parse_features, parse_mac
from softdpu.fabric.wanted import Wanted


@dataclass(frozen=True)
class Kind:
    """A kind of value: what is accepted, in words, and how it is read. A bad one raises ValueError or InvalidValue."""

    accepted: str
    read: Callable[[Any], Any]


@dataclass(frozen=True)
class Key:
    """One key of virtnet.conf. ``path`` is dotted for a key within a section."""

    path: str
    kind: Kind
    default: str  # as the manual shows it
    meaning: str
    excludes: tuple[str, ...] = ()  # keys that may not be given (flags: be 1) beside it
    inert: str = ""  # why it changes nothing here, if so


def _read_name(value: Any) -> str:
    name = _of(str, value)
    if not 0 < len(name) <= 64 or not all(c.isascii() and (c.isalnum() or c in "_-.") for c in name):
        raise ValueError
    return str(name)


def _of(kind: type, value: Any) -> Any:
    """The value if it has exactly this type: true is no number."""
    if type(value) is not kind:
        raise ValueError
    return value


def _read_flag(value: Any) -> bool:
    if type(value) not in (bool, int) or value not in (0, 1):
        raise ValueError
    return bool(value)


def _read_percent(value: Any) -> int:
    if _of(int, value) not in range(101):
        raise ValueError
    return int(value)


def _read_count(value: Any) -> int:
    if _of(int, value) not in range(1, 505):
        raise ValueError
    return int(value)


def _read_provider(value: Any) -> str:
    if value != "kernel":
        raise ValueError
    return "kernel"


def _read_export(value: Any) -> str:
    if value not in get_args(Wish):
        raise ValueError
    return str(value)


def _read_features(value: Any) -> int:
    if type(value) is int and 0 <= value < 1 << 128:
        return value
    return parse_features(_of(str, value))


def _read_mac(value: Any) -> bytes:
    """The base of a series. The manual's own sample has the group bit set: it is cleared, and the reader warns."""
    text = _of(str, value)
    parts = text.replace("-", ":").split(":")
    if len(parts) == 6 and len(parts[0]) == 2 and parts[0].isalnum() and parts[0].isascii():
        try:
            parts[0] = f"{int(parts[0], 16) & 0xFE:02x}"
        except ValueError:
            raise ValueError from None
    return parse_mac(":".join(parts))


def _read_uplink(value: Any) -> Wanted:
    """An interface, with the kind of uplink before it if it is not ``auto``: no name has a colon."""
    mode, _, name = _of(str, value).rpartition(":")
    if not INTERFACE_NAME.fullmatch(name):
        raise ValueError
    return msgspec.convert({"interface": name, "mode": mode or "auto"}, Wanted)  # its error is a ValueError


def _read_cores(value: Any) -> tuple[int, ...]:
    """The cores of a list such as ``2-3,5``, in order, each once; none for an empty text."""
    text = _of(str, value)
    return tuple(sorted({core for part in text.split(",") if text for core in _read_cores_between(part)}))


def _read_cores_between(part: str) -> range:
    first, _, last = part.strip().partition("-")
    numbers = [first, last] if "-" in part else [first, first]
    if not all(number.isascii() and number.isdigit() and len(number) <= 4 for number in numbers):
        raise ValueError
    low, high = map(int, numbers)
    if high < low:
        raise ValueError
    return range(low, high + 1)


# linux/netdevice.h dev_valid_name: no '/', ':' or white space
INTERFACE_NAME = re.compile(r"(?!\.{1,2}$)[!-.0-9;-~]{1,15}")
NAME = Kind('the name of an RDMA device in quotes, such as "mlx5_0"', _read_name)
FLAG = Kind("0 or 1", _read_flag)
PERCENT = Kind("a number in 0..100", _read_percent)
COUNT = Kind("a number in 1..504", _read_count)
PROVIDER = Kind('"kernel"', _read_provider)
EXPORT = Kind(" or ".join(f'"{wish}"' for wish in get_args(Wish)), _read_export)
FEATURES = Kind('a number, or hexadecimal text such as "0x230047082b"', _read_features)
UPLINK = Kind('the name of a network interface in quotes, such as "eth1" or "af_xdp:eth1"', _read_uplink)
CORES = Kind('a list of cores in quotes, such as "2-3,5"', _read_cores)
MAC = Kind('six hexadecimal bytes in quotes, such as "0C:C4:7A:FF:22:93"', _read_mac)

NO_POOL = "a representor is made at once, so there is no pool"
FLOODING = (
    "The built-in switch copies frames to unknown addresses to every guest that may want them; with 0 only to "
    "representor and uplink. A key of softdpu alone."
)
OUTSIDE = (
    "Interface by which the devices of port {} reach the network outside: over a packet socket, or over XDP sockets "
    "(see how-to/uplinks.md). A key of softdpu alone."
)
VF_MAC_MEANING = "MAC of VF 0 of PF 0; VF n of PF p has this plus p × vfs_per_pf + n. Needs vfs_per_pf."
CORES_MEANING = (
    "Cores given to the datapath: one worker thread each, at most 64. Without it one thread moves all frames, on "
    "whatever core the kernel gives it. Read when a datapath is started: one that serves guests keeps its threads. "
    "A key of softdpu alone."
)
MAC_MEANING = "MAC of the first {0}; {0} n has this plus n."

TABLE = (
    Key("ib_dev_p0", NAME, '"mlx5_0"', "RDMA device of port 0.", ("ib_dev_lag",)),
    Key("ib_dev_p1", NAME, '"mlx5_1"', "RDMA device of port 1.", ("ib_dev_lag",)),
    Key("ib_dev_lag", NAME, '"mlx5_bond_0"', "RDMA device of the bond, with is_lag 1.", ("ib_dev_p0", "ib_dev_p1")),
    Key("ib_dev_for_static_pf", NAME, "that of port 0", "RDMA device on which the static PFs are made."),
    Key("is_lag", FLAG, "0", "The two ports are one bond.", ("single_port",)),
    Key("single_port", FLAG, "0", "The card has one port.", ("is_lag",)),
    Key("recovery", FLAG, "1", "Keep a recovery file a device, so that devices survive a reboot."),
    Key("sf_pool_percent", PERCENT, "0", "Scalable functions made in advance, in percent.", inert=NO_POOL),
    Key("sf_pool_force_destroy", FLAG, "0", "Destroy that pool when the controller stops.", inert=NO_POOL),
    Key("packed_vq", FLAG, "0", "Offer packed virtqueues (VIRTIO_F_RING_PACKED)."),
    Key("mrg_rxbuf", FLAG, "1", "Offer mergeable receive buffers (VIRTIO_NET_F_MRG_RXBUF)."),
    Key(
        "export",
        EXPORT,
        '"auto"',
        "How functions meet their VMM (ours): the whole PCI function over vfio-user, or rings behind the VMM's own "
        "function over vhost-user.",
    ),
    Key("lm_prov", PROVIDER, "none", "kernel: VFs are transitional, by legacy commands to their PF."),
    Key("mac_base", MAC, "made from the VUID", "As static_pf.mac_base (v1.9.0).", ("static_pf.mac_base",)),
    Key("features", FEATURES, "the controller's", "As static_pf.features (v1.9.0).", ("static_pf.features",)),
    Key("static_pf.mac_base", MAC, "made from the VUID", MAC_MEANING.format("static PF"), ("mac_base",)),
    Key("static_pf.features", FEATURES, "the controller's", "Feature bits of static PFs.", ("features",)),
    Key("vf.mac_base", MAC, "made from the VUID", VF_MAC_MEANING),
    Key("vf.features", FEATURES, "the controller's", "Feature bits of VFs."),
    Key(
        "vf.vfs_per_pf",
        COUNT,
        "VIRTIO_NET_EMULATION_NUM_VF",
        "How far the MACs of one PF's VFs are from the next PF's; at most VIRTIO_NET_EMULATION_NUM_VF.",
    ),
    Key("flooding", FLAG, "1", FLOODING),
    Key("worker_cores", CORES, "none", CORES_MEANING),
    Key("uplinks.p0", UPLINK, "none", OUTSIDE.format(0)),
    Key("uplinks.p1", UPLINK, "none", OUTSIDE.format(1)),
)
KEYS = {key.path: key for key in TABLE}
SECTIONS = ("static_pf", "vf", "uplinks")


def reference() -> str:
    """The reference page of virtnet.conf, as Markdown, from the table."""
    rows = [f"| `{key.path}` | {key.kind.accepted} | {key.default} | {_meaning(key)} |" for key in TABLE]
    return "\n".join([*HEAD, *rows, ""])


def _meaning(key: Key) -> str:
    excludes = f" Not together with {' or '.join(f'`{path}`' for path in key.excludes)}." if key.excludes else ""
    return key.meaning + excludes + (f" No effect here: {key.inert}." if key.inert else "")


HEAD = (
    "# virtnet.conf",
    "",
    "`/opt/mellanox/mlnx_virtnet/virtnet.conf` is one JSON object, read when the controller starts; a trailing comma "
    "is accepted. `virtnet validate -f FILE` checks a file. A dotted key stands in a section: "
    '`"vf": { "vfs_per_pf": 4 }`.',
    "",
    "| key | accepted | default | meaning |",
    "|---|---|---|---|",
)
