"""Feature negotiation: what is shown through which interface, what may be accepted, and why (virtio 1.3 §2.2)."""

from __future__ import annotations

from typing import NamedTuple

from softdpu.spec.features import FEATURES, VERSION_1, Feature, View, bits_of, mask_of, name_of
from softdpu.virtio.state import Mode

LEGACY_BITS = 0xFFFFFFFF  # §4.1.4.10: the legacy interface has 32
LEGACY_ONLY = mask_of(*(bit for bit, feature in FEATURES.items() if feature.view is View.LEGACY))


class Verdict(NamedTuple):
    """What became of one feature bit, and why: for people."""

    bit: int
    name: str
    offered: bool
    accepted: bool
    why: str


def shown(offered: int, mode: Mode) -> int:
    """The bits of an offer that can be seen through one interface."""
    return offered & LEGACY_BITS if mode == "legacy" else offered & ~LEGACY_ONLY


def refusal(offered: int, accepted: int) -> str | None:
    """Why FEATURES_OK must not be set for these bits of a modern driver (§2.2.2), or None where it may be."""
    if stray := accepted & ~shown(offered, "modern"):
        return f"the driver accepted {names(stray)}, which was not offered"
    if not accepted >> VERSION_1 & 1:
        return f"the driver did not accept {name_of(VERSION_1)}"
    for bit in bits_of(accepted):
        if need := missing(FEATURES[bit], accepted):
            return f"the driver accepted {name_of(bit)} without {need}"
    return None


def missing(feature: Feature, present: int) -> str:
    """What a feature requires and does not find among ``present``: names, or nothing."""
    for bit in feature.requires:
        if not present >> bit & 1:
            return name_of(bit)
    if feature.requires_any and not present & mask_of(*feature.requires_any):
        return " or ".join(name_of(bit) for bit in feature.requires_any)
    return ""


def usable(offered: int, accepted: int) -> int:
    """What holds for a legacy driver, which cannot be refused: its bits, less any whose requirements it left out."""
    return sound(accepted & shown(offered, "legacy"))


def sound(present: int) -> int:
    """These bits, less any whose requirements are not among them."""
    while lame := [bit for bit in bits_of(present) if missing(FEATURES[bit], present)]:
        present &= ~mask_of(*lame)
    return present


def names(word: int) -> str:
    """The names of the bits of a feature word."""
    return ", ".join(name_of(bit) for bit in bits_of(word))


class Negotiation(NamedTuple):
    """How far a device and its driver have come to terms."""

    offered: int
    withheld: dict[int, str]  # of bits that are implemented and not offered: why
    written: int  # by the driver
    accepted: int  # what holds
    mode: Mode | None

    def explain(self) -> list[Verdict]:
        """One verdict a bit that is known or written by the driver, lowest first."""
        every = self.offered | self.written | mask_of(*FEATURES)
        return [self.verdict(bit) for bit in bits_of(every)]

    def verdict(self, bit: int) -> Verdict:
        """What became of one bit."""
        offered, accepted = self.offered >> bit & 1, self.accepted >> bit & 1
        why = "in use" if accepted else self._unused(bit) if offered else self._withheld(bit)
        return Verdict(bit, name_of(bit), bool(offered), bool(accepted), why)

    def _withheld(self, bit: int) -> str:
        why = self.withheld.get(bit, "not offered: this device does not implement it")
        return f"{why}; the driver accepted it all the same" if self.written >> bit & 1 else why

    def _unused(self, bit: int) -> str:
        if self.mode is None:
            return "offered; no driver has negotiated since the last reset"
        if not shown(self.offered, self.mode) >> bit & 1:
            return f"offered, but a {self.mode} driver cannot see it: {FEATURES[bit].view.value}"
        if not self.written >> bit & 1:
            return "offered; the driver has not accepted it"
        if need := missing(FEATURES[bit], self.written):
            return f"offered; the driver accepted it without {need}"
        return "offered; the driver accepted it, and has not set FEATURES_OK"
