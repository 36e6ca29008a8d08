"""Every firmware parameter, once: the store, mlxconfig, its refusals and the reference page read this table."""

import errno
from dataclasses import dataclass
from typing import Literal

from softdpu.spelling import suggestion

FALSE_TRUE = ("False", "True")
MOST_SWITCH_PORTS = 32


class FirmwareError(ValueError):
    """A setting that the firmware refuses; ``str()`` is the sentence for the operator."""

    errno = errno.EINVAL


@dataclass(frozen=True)
class Parameter:
    """One parameter. Values are integers; bool and enum values also have labels, by value."""

    name: str
    kind: Literal["bool", "int", "enum"]
    default: int
    highest: int
    meaning: str
    lowest: int = 0
    labels: tuple[str, ...] = ()

    def show(self, value: int) -> str:
        """As mlxconfig prints it: ``True(1)``, ``VIRTIO_1_X(0)``, ``16``."""
        return f"{self.labels[value]}({value})" if self.labels else str(value)

    @property
    def accepted(self) -> str:
        """The accepted values, for a sentence: ``0..32`` or ``False(0) or True(1)``."""
        if self.labels:
            return " or ".join(self.show(value) for value in range(len(self.labels)))
        return f"{self.lowest}..{self.highest}"

    def check(self, value: int) -> int:
        """The value, if it is in range."""
        if isinstance(value, bool) or not self.lowest <= value <= self.highest:
            raise FirmwareError(f"{self.name}={value} is out of range: it must be {self.accepted}.")
        return value

    def parse(self, text: str) -> int:
        """A value as the operator types it: a number (decimal or 0x), a label, or both as ``True(1)``."""
        by_label = {label.casefold(): value for value, label in enumerate(self.labels)}
        by_label |= {self.show(value).casefold(): value for value in range(len(self.labels))}
        if (value := by_label.get(text.casefold())) is not None:
            return value
        if (number := _number(text)) is None:
            raise FirmwareError(
                f"{self.name}={text} is not a value{suggestion(text, self.labels) or ':'} it must be {self.accepted}."
            )
        return self.check(number)


def _number(text: str) -> int | None:
    """A decimal or 0x number, or None. Python's own forms (``1_0``, other scripts' digits) are not numbers here."""
    if text.isascii() and text.isdigit():
        return int(text) if len(text) <= 20 else None
    try:
        return int(text, 16) if text[:2].lower() == "0x" and "_" not in text and len(text) <= 18 else None
    except ValueError:
        return None


def _bool(name: str, meaning: str, default: int = 0) -> Parameter:
    return Parameter(name, "bool", default, 1, meaning, labels=FALSE_TRUE)


def _enum(name: str, meaning: str, *labels: str, default: int = 0) -> Parameter:
    return Parameter(name, "enum", default, len(labels) - 1, meaning, labels=labels)


def _int(name: str, highest: int, meaning: str, default: int = 0, lowest: int = 0) -> Parameter:
    return Parameter(name, "int", default, highest, meaning, lowest)


TABLE = (
    _bool("VIRTIO_NET_EMULATION_ENABLE", "Emulate virtio-net devices; the controller does nothing without it."),
    _int("VIRTIO_NET_EMULATION_NUM_PF", 31, "Static PFs, there from power-on."),
    _int("VIRTIO_NET_EMULATION_NUM_VF", 504, "Most VFs of each static PF."),
    _int("VIRTIO_NET_EMULATION_NUM_MSIX", 2048, "MSI-X vectors of a PF; 4 or more once emulation is on.", 2, lowest=2),
    _int("VIRTIO_NET_EMULATION_NUM_VF_MSIX", 2048, "MSI-X vectors of a VF; 0: as many as a PF."),
    _enum(
        "VIRTIO_NET_EMULATION_PF_PCI_LAYOUT",
        "PCI layout of static PFs: modern, or transitional (also usable by a legacy driver).",
        "VIRTIO_1_X",
        "VIRTIO_TRANSITIONAL",
    ),
    _enum(
        "VIRTIO_NET_EMULATION_VF_PCI_LAYOUT",
        "PCI layout of VFs. They are modern whatever it says, and transitional by lm_prov in virtnet.conf.",
        "VIRTIO_1_X",
        "VIRTIO_TRANSITIONAL",
    ),
    _bool("VIRTIO_EMULATION_HOTPLUG_TRANS", "Allow transitional hotplug devices (virtnet hotplug -l)."),
    _bool("PCI_SWITCH_EMULATION_ENABLE", "Emulate the PCI switch that hot plug needs."),
    _int(
        "PCI_SWITCH_EMULATION_NUM_PORT",
        MOST_SWITCH_PORTS,
        "Ports of the emulated switch; one fewer hotplug devices fit.",
    ),
    _bool("SRIOV_EN", "Allow VFs: without it no PF has any."),
    _int(
        "NUM_OF_VFS",
        127,
        "VFs of the ports' own network functions, which are not emulated.",
    ),
    _bool("PER_PF_NUM_SF", "Each network function has its own number of scalable functions."),
    _int("PF_TOTAL_SF", 65535, "Scalable functions; each virtio-net device needs one."),
    _int("PF_SF_BAR_SIZE", 31, "Size of the scalable functions' BAR: log2, in KiB."),
    _bool("PF_BAR2_ENABLE", "Show BAR 2 of the network functions."),
    _enum("ECPF_ESWITCH_MANAGER", "Who manages the embedded switch.", "EXT_HOST_PF", "ECPF", default=1),
    _enum("ECPF_PAGE_SUPPLIER", "Who supplies the firmware's memory.", "EXT_HOST_PF", "ECPF", default=1),
)
PARAMETERS = {parameter.name: parameter for parameter in TABLE}
DEFAULTS = {parameter.name: parameter.default for parameter in TABLE}


def find(name: str) -> Parameter:
    """The parameter of this name; case does not count."""
    if (parameter := PARAMETERS.get(name.upper())) is None:
        raise FirmwareError(
            f"there is no parameter {name}{suggestion(name, PARAMETERS) or ';'} mlxconfig -d <device> q lists them all."
        )
    return parameter
