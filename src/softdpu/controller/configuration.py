"""virtnet.conf: how a file becomes a Configuration.

Nothing in the file can crash the reader: each mistake is a sentence with its line, and the key keeps its default.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from softdpu.controller import located_json
from softdpu.controller.configuration_keys import FLAG, KEYS, MAC, SECTIONS, Key
from softdpu.controller.errors import InvalidValue
from softdpu.controller.export import Wish
from softdpu.fabric.wanted import Wanted
from softdpu.spelling import suggestion

LARGEST_FILE = 1 << 20
MOST_WORKERS = 64
EXAMPLES = dict.fromkeys(SECTIONS, '{ "features": "0x230047082b" }') | {"uplinks": '{ "p0": "eth1" }'}


class Series(msgspec.Struct, frozen=True):
    """How a series of devices is numbered: device n has MAC ``mac_base + n``."""

    mac_base: bytes | None = None  # 6 bytes
    features: int | None = None  # None: the controller's default
    vfs_per_pf: int | None = None  # of VFs only


class Configuration(msgspec.Struct, frozen=True):
    """A valid virtnet.conf; what was not given has its default."""

    ib_dev_p0: str = "mlx5_0"
    ib_dev_p1: str = "mlx5_1"
    ib_dev_lag: str = "mlx5_bond_0"
    ib_dev_for_static_pf: str = "mlx5_0"
    is_lag: bool = False
    single_port: bool = False
    recovery: bool = True
    sf_pool_percent: int = 0
    sf_pool_force_destroy: bool = False
    packed_vq: bool = False
    mrg_rxbuf: bool = True
    export: Wish = "auto"
    lm_prov: Literal["", "kernel"] = ""
    static_pf: Series = Series()
    vf: Series = Series()
    flooding: bool = True
    worker_cores: tuple[int, ...] = ()  # in order, each once
    uplinks: dict[int, Wanted] = {}  # by port number

    @property
    def ib_devices(self) -> tuple[str, ...]:
        """The RDMA devices on which a device can be made, by port number."""
        return ib_devices(self.is_lag, self.single_port, self.ib_dev_p0, self.ib_dev_p1, self.ib_dev_lag)


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong (or, as a warning, odd) in the file."""

    line: int
    key: str
    sentence: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.sentence}"


@dataclass(frozen=True)
class Reading:
    """What came out of a file. The configuration is valid even when there are mistakes: their keys have defaults."""

    configuration: Configuration
    mistakes: tuple[Mistake, ...] = ()
    warnings: tuple[Mistake, ...] = ()


def ib_devices(is_lag: bool, single_port: bool, p0: str, p1: str, lag: str) -> tuple[str, ...]:
    """The RDMA devices, by port number, under these settings."""
    if is_lag:
        return (lag,)
    return (p0,) if single_port else (p0, p1)


def read(path: Path, num_vf: int | None = None) -> Reading:
    """The file at ``path``; the defaults if there is none. ``num_vf``: VIRTIO_NET_EMULATION_NUM_VF, if it is known."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        return Reading(Configuration())
    except OSError as error:
        return _unreadable(f"the file cannot be read: {error.strerror} ({path})")
    if len(content) > LARGEST_FILE:
        return _unreadable(f"the file is larger than {LARGEST_FILE} bytes: this is no virtnet.conf")
    try:
        return parse(content.decode("utf-8-sig"), num_vf)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Reading(Configuration(), (Mistake(line, "", "the file is not UTF-8 text here; save it as UTF-8."),))


def parse(text: str, num_vf: int | None = None) -> Reading:
    """The text of a virtnet.conf. Every mistake is found, not only the first."""
    try:
        top = located_json.parse(text)
    except located_json.JsonMistake as error:
        return Reading(Configuration(), (Mistake(error.line, "", f"the file is not JSON: {error}."),))
    if not isinstance(top.plain, dict):
        return Reading(Configuration(), (Mistake(top.line, "", 'the file must be one object: { "key": value, ... }.'),))
    return _Reader(num_vf).read(top.plain)


def _unreadable(sentence: str) -> Reading:
    return Reading(Configuration(), (Mistake(1, "", sentence + "."),))


class _Reader:
    """Collects the good values by path, the mistakes and the warnings."""

    def __init__(self, num_vf: int | None) -> None:
        self.num_vf = num_vf
        self.good: dict[str, Any] = {}
        self.lines: dict[str, int] = {}
        self.mistakes: list[Mistake] = []
        self.warnings: list[Mistake] = []

    def read(self, members: located_json.Members) -> Reading:
        for path, member in self._flat(members):
            self._take(path, member)
        for check in (self._exclusions, self._lag, self._static_port, self._vfs, self._cores):
            check()
        by_line = sorted(self.mistakes, key=lambda mistake: mistake.line)
        return Reading(_configuration(self.good), tuple(by_line), tuple(self.warnings))

    def _flat(self, members: located_json.Members) -> Iterator[tuple[str, located_json.Member]]:
        """Every key with its dotted path, the sections' keys in place of the sections."""
        for key, member in members.items():
            if key not in SECTIONS:
                yield key, member
            elif isinstance(member.value.plain, dict):
                yield from ((f"{key}.{inner}", found) for inner, found in member.value.plain.items())
            else:
                self._wrong(key, member.line, f"{key} must be an object, such as {EXAMPLES[key]}.")

    def _take(self, path: str, member: located_json.Member) -> None:
        if (key := KEYS.get(path)) is None:
            self._unknown(path, member)
            return
        self.lines[path] = member.line
        try:
            self.good[path] = key.kind.read(_plain(member.value))
        except (ValueError, InvalidValue):
            shown = _shown(member.value)
            self._wrong(path, member.line, f"{path} is {shown}, but must be {key.kind.accepted}.")
            return
        self._warn(key, member)

    def _unknown(self, path: str, member: located_json.Member) -> None:
        section = path.rpartition(".")[0]
        near = [known for known in KEYS if known.rpartition(".")[0] == section]
        if not section:
            near += [*SECTIONS, *(known for known in KEYS if "." in known)]
        accepted = ", ".join(known.rpartition(".")[2] for known in KEYS if known.rpartition(".")[0] == section)
        accepted += "" if section else ", " + ", ".join(SECTIONS)
        there = f"in {section} " if section else ""
        guess = suggestion(path, near) or ";"
        self._wrong(path, member.line, f"there is no key {path}{guess} accepted {there}are: {accepted}.")

    def _warn(self, key: Key, member: located_json.Member) -> None:
        value = self.good[key.path]
        if key.inert and value:
            self._odd(key.path, f"{key.path} has no effect: {key.inert}.")
        if key.kind is MAC and int(member.value.plain[:2], 16) & 1:
            self._odd(
                key.path,
                f"{key.path} {member.value.plain} is a multicast address, which no device can have: its lowest bit "
                f"in the first byte is taken as 0, so the first device has {value.hex(':')}.",
            )

    def _exclusions(self) -> None:
        """Keys that may not stand together; of two, the one further down is dropped. A flag counts when it is 1."""
        by_line = sorted((path for path in self.good if self._counts(path)), key=self.lines.__getitem__)
        for path in by_line:
            first = [other for other in KEYS[path].excludes if other in by_line and self._counts(other)]
            earlier = [other for other in first if by_line.index(other) < by_line.index(path)]
            if earlier:
                other = earlier[0]
                text = f"{path} and {other} (line {self.lines[other]}) exclude each other: keep one of them."
                self._wrong(path, self.lines[path], text)
                del self.good[path]

    def _counts(self, path: str) -> bool:
        return path in self.good and (KEYS[path].kind is not FLAG or bool(self.good[path]))

    def _lag(self) -> None:
        """A bond's device without a bond says that is_lag was forgotten."""
        if "ib_dev_lag" in self.good and not self.good.get("is_lag"):
            self._odd("ib_dev_lag", "ib_dev_lag has no effect without is_lag 1.")

    def _static_port(self) -> None:
        chosen = self.good.get("ib_dev_for_static_pf")
        there = _configuration({**self.good, "ib_dev_for_static_pf": None}).ib_devices
        if chosen is not None and chosen not in there:
            self._wrong(
                "ib_dev_for_static_pf",
                self.lines["ib_dev_for_static_pf"],
                f"ib_dev_for_static_pf {chosen} is no device of this configuration: use {' or '.join(there)}.",
            )
            del self.good["ib_dev_for_static_pf"]

    def _vfs(self) -> None:
        count = self.good.get("vf.vfs_per_pf")
        if "vf.mac_base" in self.good and count is None:
            self._wrong("vf.mac_base", self.lines["vf.mac_base"], "vf.mac_base needs vf.vfs_per_pf: add it.")
            del self.good["vf.mac_base"]
        if count is not None and self.num_vf is not None and count > self.num_vf:
            self._wrong(
                "vf.vfs_per_pf",
                self.lines["vf.vfs_per_pf"],
                f"vf.vfs_per_pf {count} is more than VIRTIO_NET_EMULATION_NUM_VF={self.num_vf}: lower it, or raise "
                f"that with mlxconfig and power-cycle.",
            )
            del self.good["vf.vfs_per_pf"]

    def _cores(self) -> None:
        """Each core must be one that this process, and so the datapath, may use."""
        cores, usable = self.good.get("worker_cores", ()), os.sched_getaffinity(0)
        absent = [core for core in cores if core not in usable]
        refusal = f"more than the {MOST_WORKERS} that there can be" if len(cores) > MOST_WORKERS else ""
        if absent:
            there = ", ".join(map(str, sorted(usable)))
            refusal = f"core {absent[0]}, which the controller may not use here: choose from {there}"
        if refusal:
            self._wrong("worker_cores", self.lines["worker_cores"], f"worker_cores names {refusal}.")
            del self.good["worker_cores"]

    def _wrong(self, key: str, line: int, sentence: str) -> None:
        self.mistakes.append(Mistake(line, key, sentence))

    def _odd(self, key: str, sentence: str) -> None:
        self.warnings.append(Mistake(self.lines[key], key, sentence))


def _configuration(good: dict[str, Any]) -> Configuration:
    plain = {path: value for path, value in good.items() if path in Configuration.__struct_fields__}
    default = Configuration()
    there = ib_devices(
        plain.get("is_lag", False),
        plain.get("single_port", False),
        plain.get("ib_dev_p0", default.ib_dev_p0),
        plain.get("ib_dev_p1", default.ib_dev_p1),
        plain.get("ib_dev_lag", default.ib_dev_lag),
    )
    plain["ib_dev_for_static_pf"] = plain.get("ib_dev_for_static_pf") or there[0]
    static_pf = Series(
        good.get("static_pf.mac_base", good.get("mac_base")), good.get("static_pf.features", good.get("features"))
    )
    vf = Series(good.get("vf.mac_base"), good.get("vf.features"), good.get("vf.vfs_per_pf"))
    uplinks = {port: good[f"uplinks.p{port}"] for port in (0, 1) if f"uplinks.p{port}" in good}
    return Configuration(**plain, static_pf=static_pf, vf=vf, uplinks=uplinks)


def _plain(value: located_json.Value) -> Any:
    """A scalar; an object or a list is never one, so it reads as None."""
    return None if isinstance(value.plain, dict | list) else value.plain


def _shown(value: located_json.Value) -> str:
    """A value as a sentence quotes it: short, on one line."""
    if isinstance(value.plain, dict):
        return "an object"
    if isinstance(value.plain, list):
        return "a list"
    number = isinstance(value.plain, int | float)
    text = str(value.plain).lower() if number else msgspec.json.encode(value.plain).decode()
    return text if len(text) <= 60 else text[:57] + "..."
