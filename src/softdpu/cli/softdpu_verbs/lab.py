"""softdpu lab: QEMU and guest kernels, ready to boot. The lab declares and runs its own command line."""

from argparse import ArgumentParser, Namespace

from softdpu.controller.root import Root

HELP = "stock QEMU and guest kernels, ready to boot"


def declare(parser: ArgumentParser) -> None:
    """Everything behind ``lab`` goes to the lab unread, options too."""
    parser.set_defaults(rest=[])


def run(options: Namespace, _root: Root) -> int:
    """The lab's own command, imported only now."""
    from softdpu.lab import commands  # noqa: PLC0415

    return commands.command(options.rest)
