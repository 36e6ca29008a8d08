# PYTHON_ARGCOMPLETE_OK
"""mlxconfig: query, set and reset the firmware settings. It works on the settings' file; no controller is needed."""

import re
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence

from softdpu import __version__
from softdpu.cli.process import Exit, add_root, as_process, complete
from softdpu.controller.root import Root
from softdpu.firmware.parameters import TABLE, FirmwareError, Parameter, find
from softdpu.firmware.store import Firmware, preview

COMMANDS = """commands:
  q, query [NAME ...]        show the settings of the next boot (with -e: default, current and next boot)
  s, set NAME=VALUE ...      change the settings of the next boot: all of them, or none if one is refused
  r, reset                   the next boot has the defaults
  i, show_confs              every setting, with what it means and which values it takes
"""
DEVICE = "/dev/mst/mt41692_pciconf0"
DEVICES = re.compile(
    r"([0-9a-f]{4}:)?[0-9a-f]{1,2}:[0-9a-f]{1,2}\.[0-7]"  # 03:00.0, 0000:03:00.0
    r"|(/dev/mst/)?mt\d+_(pciconf|pci_cr)\d+(\.\d+)?"
    r"|mlx5_(bond_)?\d+",
    re.ASCII | re.IGNORECASE,
)


def parser() -> ArgumentParser:
    """The declaration of the command line."""
    declared = ArgumentParser("mlxconfig", formatter_class=RawDescriptionHelpFormatter, description=__doc__)
    declared.epilog = COMMANDS
    declared.add_argument("-d", "--dev", metavar="DEVICE", help="PCI address (03:00.0), mst device or mlx5_0")
    declared.add_argument("-y", "--yes", action="store_true", help="answer yes to every question")
    declared.add_argument("-e", "--enable_verbosity", action="store_true", help="show default and current values too")
    declared.add_argument("-v", "--version", action="version", version=f"mlxconfig, softdpu {__version__}")
    add_root(declared)
    command = declared.add_argument("command", choices=sorted(RUN), metavar="{query,set,reset,show_confs}")
    command.completer = lambda **_: ["query", "set", "reset", "show_confs"]  # type: ignore[attr-defined]
    values = declared.add_argument("parameters", nargs="*", default=[], metavar="NAME[=VALUE]", help="which settings")
    values.completer = lambda **_: [parameter.name for parameter in TABLE]  # type: ignore[attr-defined]
    return declared


def command(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit status."""
    declared = parser()
    complete(declared)
    options = declared.parse_intermixed_args(arguments)
    try:
        options.dev = _device(options)
        return RUN[options.command](options, Root.chosen(options.root))
    except FirmwareError as error:
        print(f"-E- {error}")
        return Exit.FAILURE


def _device(options: Namespace) -> str:
    """The device, if its name has a form that the tool knows. A DPU is one card: every name means it."""
    if options.dev is None and options.command in ("s", "set", "r", "reset"):
        raise FirmwareError(f"no device is named: add -d, for example -d 03:00.0 or -d {DEVICE}.")
    device: str = options.dev or DEVICE
    if not DEVICES.fullmatch(device):
        raise FirmwareError(
            f"Failed to open device: {device}. It must be a PCI address such as 03:00.0, an mst device such as "
            f"{DEVICE}, or mlx5_0."
        )
    return device


def _query(options: Namespace, root: Root) -> int:
    firmware = Firmware.load(root.path)
    parameters = [find(name) for name in options.parameters] or list(TABLE)
    boots = {"Next Boot": firmware.next}
    if options.enable_verbosity:
        boots = {"Default": firmware.default, "Current": firmware.current} | boots
    _opening(options.dev)
    print(_heading(*boots))
    for parameter in parameters:
        print(_row(parameter, *(values[parameter.name] for values in boots.values())))
    if options.enable_verbosity:
        print("The '*' shows parameters with next value different from default/current value.")
    return Exit.SUCCESS


def _set(options: Namespace, root: Root) -> int:
    changes = _assignments(options.parameters)
    firmware = Firmware.load(root.path)
    preview(firmware.next, changes)
    _opening(options.dev)
    print(_heading("Next Boot", "New"))
    for name, value in changes.items():
        print(_row(find(name), firmware.next[name], value, marked=False))
    return _apply("Apply new Configuration?", options.yes, lambda: firmware.set_next(changes))


def _assignments(words: Sequence[str]) -> dict[str, int]:
    """``NAME=VALUE`` words as values; a name that is given twice is refused."""
    if not words:
        raise FirmwareError("nothing to set: give NAME=VALUE, such as VIRTIO_NET_EMULATION_ENABLE=1.")
    changes: dict[str, int] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise FirmwareError(f"{word} is no assignment: write {name}=VALUE.")
        parameter = find(name)
        if parameter.name in changes:
            raise FirmwareError(f"{parameter.name} is set twice: give it once.")
        changes[parameter.name] = parameter.parse(value)
    return changes


def _reset(options: Namespace, root: Root) -> int:
    if options.parameters:
        raise FirmwareError(f"reset takes no names, but {options.parameters[0]} was given: it resets every setting.")
    question = f"Reset configuration for device {options.dev}?"
    return _apply(question, options.yes, Firmware.factory(root.path).reset)


def _show(_options: Namespace, _root: Root) -> int:
    for parameter in TABLE:
        print(f"{parameter.name:<40}{parameter.accepted}\n        {parameter.meaning}")
    return Exit.SUCCESS


def _apply(question: str, yes: bool, change: Callable[[], None]) -> int:
    """Ask, change, say so. The end of standard input is a no."""
    print(f"\n {question} (y/n) [n] : ", end="", flush=True)
    if yes:
        print("y")
    elif sys.stdin.readline().strip().lower() not in ("y", "yes"):
        print("-E- Aborted by user.")
        return Exit.FAILURE
    print("Applying... ", end="", flush=True)
    try:
        change()
    except FirmwareError:
        print("Failed!")
        raise
    print("Done!\n-I- Please reboot machine to load new configurations.")
    return Exit.SUCCESS


def _opening(device: str) -> None:
    print("\nDevice #1:\n----------\n")
    described = {"Device type:": "BlueField3", "Name:": "softdpu", "Description:": "Software DPU", "Device:": device}
    for label, text in described.items():
        print(f"{label:<20}{text}")
    print()


def _heading(*columns: str) -> str:
    return f"{'Configurations:':<57}" + "".join(f"{column:<21}" for column in columns).rstrip()


def _row(parameter: Parameter, *values: int, marked: bool = True) -> str:
    """One setting; a star when the last value differs from another one."""
    star = "*" if marked and any(value != values[-1] for value in values) else " "
    shown = "".join(f"{parameter.show(value):<21}" for value in values).rstrip()
    return f"{star:<8}{parameter.name:<44}{shown}"


RUN: dict[str, Callable[[Namespace, Root], int]] = {
    "q": _query,
    "query": _query,
    "s": _set,
    "set": _set,
    "r": _reset,
    "reset": _reset,
    "i": _show,
    "show_confs": _show,
}


def main() -> None:
    """The installed command."""
    as_process(command)
