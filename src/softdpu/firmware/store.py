"""The settings on disk: what is current, what comes with the next power cycle.

``<root>/var/lib/softdpu/firmware.json`` holds ``{"current": {…}, "next": {…}}``, each with the values that differ from
the default. It is replaced as a whole, so a reader sees the old or the new file, never half of one.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from softdpu.firmware import rules
from softdpu.firmware.parameters import DEFAULTS, PARAMETERS, FirmwareError, find

FILE = "var/lib/softdpu/firmware.json"


class Firmware:
    """The settings of the DPU under a root. ``default``, ``current`` and ``next`` map each name to its value."""

    default: Mapping[str, int] = MappingProxyType(DEFAULTS)

    def __init__(self, root: Path, current: Mapping[str, int], following: Mapping[str, int]) -> None:
        self.root = root
        self.path = root / FILE
        self.current: Mapping[str, int] = MappingProxyType(dict(current))
        self.next: Mapping[str, int] = MappingProxyType(dict(following))

    @classmethod
    def load(cls, root: Path | str) -> "Firmware":
        """The settings of this root; the defaults if nothing was ever set. A damaged file raises FirmwareError."""
        path = Path(root) / FILE
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return cls.factory(root)
        except OSError as error:
            raise FirmwareError(
                f"the firmware settings cannot be read: {error.strerror} ({path}). Run this as root, or name another "
                f"root with SOFTDPU_ROOT."
            ) from error
        stored = _decode(path, text)
        return cls(Path(root), stored["current"], stored["next"])

    @classmethod
    def factory(cls, root: Path | str) -> "Firmware":
        """The settings of a DPU where nothing was ever set."""
        return cls(Path(root), DEFAULTS, DEFAULTS)

    def set_next(self, changes: Mapping[str, int]) -> None:
        """Change what the next power cycle brings: all of it, or, if any of it is refused, none."""
        with _locked(self.path):
            fresh = Firmware.load(self.root)
            following = preview(fresh.next, changes)
            self._keep(fresh.current, following)

    def reset(self) -> None:
        """The next power cycle brings the defaults. This also mends a damaged file."""
        with _locked(self.path):
            try:
                current = Firmware.load(self.root).current
            except FirmwareError:
                current = DEFAULTS
            self._keep(current, DEFAULTS)

    def power_cycle(self) -> None:
        """What was next is current."""
        with _locked(self.path):
            fresh = Firmware.load(self.root)
            self._keep(fresh.next, fresh.next)

    def _keep(self, current: Mapping[str, int], following: Mapping[str, int]) -> None:
        _replace(self.path, json.dumps({"current": _changed(current), "next": _changed(following)}, indent=2) + "\n")
        self.current, self.next = MappingProxyType(dict(current)), MappingProxyType(dict(following))


def preview(values: Mapping[str, int], changes: Mapping[str, int]) -> dict[str, int]:
    """These values with the changes made, checked alone and together."""
    following = dict(values) | {find(name).name: find(name).check(value) for name, value in changes.items()}
    rules.check(following, {find(name).name for name in changes})
    return following


def _changed(values: Mapping[str, int]) -> dict[str, int]:
    return {name: value for name, value in values.items() if value != DEFAULTS[name]}


def _decode(path: Path, text: bytes) -> dict[str, dict[str, int]]:
    try:
        stored = json.loads(text)
        if not isinstance(stored, dict) or set(stored) != {"current", "next"}:
            raise FirmwareError('it must be an object with "current" and "next"')
        return {boot: _validated(boot, values) for boot, values in stored.items()}
    except (ValueError, RecursionError) as error:
        raise FirmwareError(
            f"the firmware settings are damaged: {str(error).rstrip('.')} ({path}). "
            f"mlxconfig -d 03:00.0 -y reset starts again from the defaults."
        ) from error


def _validated(boot: str, values: Any) -> dict[str, int]:
    if not isinstance(values, dict):
        raise FirmwareError(f'"{boot}" must be an object')
    for name, value in values.items():
        if name not in PARAMETERS:
            raise FirmwareError(f'"{boot}" names {name}, which is no parameter')
        if type(value) is not int:
            raise FirmwareError(f'"{boot}" gives {name} the value {value!r}, which is no integer')
    return preview(DEFAULTS, values)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time; the lock is the directory's, so that it leaves no file behind."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)
    except OSError as error:
        raise FirmwareError(
            f"the firmware settings cannot be written: {error.strerror} ({path}). Run this as root, or name another "
            f"root with SOFTDPU_ROOT."
        ) from error


def _replace(path: Path, text: str) -> None:
    """Write beside, sync, rename, sync the directory: after a power failure the old or the new file is there."""
    beside = path.with_suffix(".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
