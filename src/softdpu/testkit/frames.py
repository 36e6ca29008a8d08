"""Ethernet frames to send: small, and recognisable when they come out elsewhere."""

from typing import Final

EXPERIMENTAL: Final = 0x88B5  # IEEE 802 local experimental EtherType: nobody else's protocol
BROADCAST: Final = b"\xff" * 6
SHORTEST: Final = 60  # bytes without FCS


def frame(destination: bytes, source: bytes, payload: bytes = b"", vlan: int | None = None) -> bytes:
    """A frame of the experimental EtherType, padded to 60 bytes; with an 802.1Q tag when ``vlan`` is given.

    >>> frame(BROADCAST, bytes(6), b"hello")[12:19].hex()
    '88b568656c6c6f'
    """
    tag = b"" if vlan is None else b"\x81\x00" + vlan.to_bytes(2)
    return (destination + source + tag + EXPERIMENTAL.to_bytes(2) + payload).ljust(SHORTEST, b"\0")
