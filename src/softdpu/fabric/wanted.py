"""What the operator wants of an uplink."""

from typing import Literal

import msgspec

Mode = Literal["auto", "af_packet", "af_xdp"]


class Wanted(msgspec.Struct, frozen=True):
    """An interface, and which kind of uplink."""

    interface: str
    mode: Mode = "auto"

    @property
    def express(self) -> bool:
        """Whether XDP sockets are tried. ``auto`` does not: see the decision on them."""
        return self.mode == "af_xdp"
