"""How a command behaves as a Unix process: exit statuses, broken pipes, interrupts."""

import os
import signal
import sys
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable, Sequence
from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses of all commands."""

    SUCCESS = 0
    FAILURE = 1  # refused or failed; a sentence says why
    USAGE = 2  # the command line was not understood
    INTERRUPTED = 130


def as_process(command: Callable[[Sequence[str]], int]) -> None:
    """Run a command on the process's arguments and exit with its status."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `virtnet list | head` ends quietly
    try:
        sys.exit(command(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)


def complete(parser: ArgumentParser) -> None:
    """Answer the shell when it asks for completions; nothing otherwise."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete  # noqa: PLC0415  # only the shell's completion needs it

        argcomplete.autocomplete(parser)


def add_root(parser: ArgumentParser) -> None:
    """``--root``: which DPU of this machine. The usage line stays that of the real tools."""
    parser.add_argument("--root", metavar="DIR", help=SUPPRESS)
    note = "--root DIR, or SOFTDPU_ROOT: the root directory of the DPU, when it is not /"
    parser.epilog = f"{parser.epilog}\n{note}" if parser.epilog else note
