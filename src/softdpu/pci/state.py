"""What is writable in a PCI function's own registers, and no more."""

import msgspec


class PciState(msgspec.Struct, omit_defaults=True):
    """Only what differs from the state after reset is kept, so that a fresh function is small."""

    config: dict[int, int] = {}  # offset of a dword of configuration space → its value
    table: dict[int, bytes] = {}  # MSI-X table: entry → its 16 bytes
