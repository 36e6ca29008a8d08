"""A network function as a member of its owner's group (virtio 1.3 §2.12)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from softdpu.net.device import Function
from softdpu.net.parts import Stray, parts_of
from softdpu.spec import virtio_net
from softdpu.virtio.outcome import Effects
from softdpu.virtio.parts import Part


class FunctionMember:
    """A VF by its number's bearer. ``emit`` carries out what the function asks for, before it returns.

    ``isr`` tells the ISR bits of the function at this moment. A VF has no INTx: the bits are for drivers that poll.
    """

    def __init__(self, function: Function, emit: Callable[[Effects], None], isr: Callable[[], int] = lambda: 0) -> None:
        self._function = function
        self._emit = emit
        self._isr = isr

    def legacy_read(self, configuration: bool, offset: int, size: int) -> bytes | None:
        """``size`` bytes of one field of the legacy registers or of the device configuration, or None."""
        place = self._place(configuration, offset, size)
        if place is None or self._function.legacy is None:
            return None
        data, effects = self._function.legacy.read(place, size, self._isr())
        self._emit(effects)
        return data

    def legacy_write(self, configuration: bool, offset: int, data: bytes) -> bool:
        """Writes to one field of them; False where it is not one."""
        place = self._place(configuration, offset, len(data))
        if place is None or self._function.legacy is None:
            return False
        self._emit(self._function.legacy.write(place, data))
        return True

    @property
    def stopped(self) -> bool:
        """Whether it was stopped."""
        return self._function.state.virtio.stopped

    def stop(self, stopped: bool) -> None:
        """Stops it, or lets it go on."""
        self._emit(self._function.stop(stopped))

    def parts(self) -> tuple[Part, ...]:
        """All its device parts."""
        return parts_of(self._function.state)

    def set_parts(self, parts: Sequence[Part]) -> str:
        """Sets parts of the stopped function, all or none: why that cannot be, or nothing."""
        try:
            self._emit(self._function.set_parts(parts))
        except Stray as error:
            return str(error)
        return ""

    def _place(self, configuration: bool, offset: int, size: int) -> int | None:
        """Where the access lies in a legacy I/O region of now, with or without MSI-X vectors (§4.1.4.10)."""
        if self._function.legacy is None:
            return None
        registers = self._function.legacy.registers
        bank = virtio_net.CONFIG if configuration else registers
        within = any(field.offset <= offset and offset + size <= field.end for field in bank.registers)
        return offset + (registers.size if configuration else 0) if within else None
