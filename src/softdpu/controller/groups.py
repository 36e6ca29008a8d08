"""A PF's VFs as the members of its group: what administration commands reach (virtio 1.3 §2.12)."""

from collections.abc import Callable, Sequence

from softdpu.controller.devices import Device
from softdpu.net.device import Function
from softdpu.net.member import FunctionMember
from softdpu.pci.plan import LEGACY_NOTIFY_AT, MODERN_BAR
from softdpu.virtio.admin.member import NotifyAddress
from softdpu.virtio.outcome import Effects

NOTIFY = NotifyAddress(owner=False, bar=MODERN_BAR, offset=LEGACY_NOTIFY_AT)


class VfGroup:
    """Implements ``softdpu.virtio.admin.member.Group``.

    ``members`` are the PF's VFs, by number from 0; ``carry_out`` has the datapath do what a VF asks for, before
    whatever is sent to it next; ``isr`` tells the ISR bits of a VF.
    """

    def __init__(
        self,
        pf: Device,
        members: Callable[[Device], Sequence[Device]],
        carry_out: Callable[[Device, Effects], None],
        isr: Callable[[Device], int],
    ) -> None:
        self._pf = pf
        self._members = members
        self._carry_out = carry_out
        self._isr = isr

    @property
    def size(self) -> int:
        """NumVFs while VF Enable is set."""
        function = self._pf.function
        return function.enabled_vfs if isinstance(function, Function) else 0

    def member(self, number: int) -> FunctionMember | None:
        """VF ``number`` - 1, if it has been made."""
        found = next((vf for vf in self._members(self._pf) if vf.record.vf_id == number - 1), None)
        if found is None or not isinstance(found.function, Function):
            return None
        return FunctionMember(found.function, lambda effects: self._carry_out(found, effects), lambda: self._isr(found))

    def notify_addresses(self, number: int) -> Sequence[NotifyAddress]:
        """In the member's own BAR, whichever member it is."""
        return (NOTIFY,)
