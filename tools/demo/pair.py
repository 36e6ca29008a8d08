"""A guest and the tap at the other end of its device."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """Both on a subnet of their own; the tap is a representor, or a VMM's own."""

    tap: str
    subnet: str

    @property
    def dpu(self) -> str:
        """The tap's address."""
        return f"{self.subnet}.1"

    @property
    def guest(self) -> str:
        """The guest's address."""
        return f"{self.subnet}.2"
