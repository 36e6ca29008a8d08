"""How a verb's options name a device: ``-p PF [-v VF]``, ``-u VUID``, and for some ``-a``."""

from argparse import ArgumentParser

DEVICE = ("pf", "vf", "vuid")


def number(text: str) -> int:
    """A decimal or 0x number."""
    return int(text, 0)


def add_device(parser: ArgumentParser, vf: bool = True, every: str = "") -> None:
    """The options that name one device; with ``every`` (its help), also all of them. One way must be chosen."""
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("-p", "--pf", type=number, help="id of the PF, see virtnet list")
    one.add_argument("-u", "--vuid", help="VUID of the device, see virtnet list")
    if every:
        one.add_argument("-a", "--all", action="store_true", help=every)
    if vf:
        parser.add_argument("-v", "--vf", type=number, help="id of the VF of that PF")
    else:
        parser.set_defaults(vf=None)
