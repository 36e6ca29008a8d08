"""softdpu docs: the reference pages, from the tables that the code itself reads."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from softdpu.cli.process import Exit
from softdpu.controller.root import Root

HELP = "write the reference pages"


def declare(parser: ArgumentParser) -> None:
    """Where to."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs/reference"), metavar="DIR")


def run(options: Namespace, _root: Root) -> int:
    """Prints each file that it writes."""
    from softdpu.cli.reference import pages  # noqa: PLC0415  # slow: it needs everything

    options.folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (options.folder / name).write_text(text, encoding="utf-8")
        print(options.folder / name)
    return Exit.SUCCESS
