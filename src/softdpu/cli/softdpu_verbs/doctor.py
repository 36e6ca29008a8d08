"""softdpu doctor: whether this machine, real hardware or not, meets what the transitional workflow asks of it."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import msgspec

from softdpu.cli.reply import pretty
from softdpu.controller.root import Root
from softdpu.doctor.checks import Row, Verdict, examine, worst
from softdpu.doctor.machine import Machine

HELP = "check this host, guest or DPU for the transitional workflow; read-only (exit status: 0 fine, 1 warning, 2 bad)"
ROW = "{verdict:<8} {check:<28} {found}"


def declare(parser: ArgumentParser) -> None:
    """How to print, and of which machine."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--tree", type=Path, default=Path("/"), metavar="DIR", help="read proc, sys and lib below DIR")


def run(options: Namespace, root: Root) -> int:
    """Prints a row a check; the exit status is the worst row's."""
    del root  # it looks at the machine, not at a software DPU
    rows = examine(Machine(options.tree))
    if options.json:
        print(pretty({"checks": [_plain(row) for row in rows], "verdict": worst(rows).name.lower()}))
    else:
        print("\n".join(_lines(row) for row in rows))
    return worst(rows)


def _plain(row: Row) -> dict[str, str]:
    return {**msgspec.structs.asdict(row), "verdict": row.verdict.name.lower()}


def _lines(row: Row) -> str:
    line = ROW.format(verdict=row.verdict.name.lower(), check=row.check, found=row.found)
    return f"{line}\n{'':8} {row.why}" if row.why and row.verdict is not Verdict.OK else line
