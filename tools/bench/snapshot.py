"""Results as they are kept: a JSON record, a chart, and the table in a page."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tools.bench import chart, machine, table
from tools.bench.pairs import Comparison

# Between them is what is written here.
BEGIN, END = "<!-- make bench -->\n", "<!-- end of make bench -->\n"


class Record(msgspec.Struct, frozen=True):
    """What bench.json has."""

    command: str
    machine: str
    results: tuple[Comparison, ...]


def write(results: Sequence[Comparison], folder: Path) -> None:
    """bench.json and bench.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    record = Record("make bench", machine.describe(), tuple(results))
    (folder / "bench.json").write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    (folder / "bench.svg").write_text(chart.draw(results))


def keep(results: Sequence[Comparison], folder: Path, page: Path, order: Sequence[str]) -> None:
    """The same, and the table in ``page``, in ``order``. Rows that were not measured stay as they were."""
    results = merged(_kept(folder / "bench.json"), results, order)
    write(results, folder)
    text = f"{BEGIN}{machine.describe()}; {table.verdict(results)}.\n\n{table.markdown(results)}{END}"
    page.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: text, page.read_text(), count=1, flags=re.DOTALL))


def merged(kept: Sequence[Comparison], results: Sequence[Comparison], order: Sequence[str]) -> list[Comparison]:
    """Those of rows measured anew instead of those kept."""
    anew = {result.row for result in results}
    every = [*(result for result in kept if result.row not in anew), *results]
    return sorted(every, key=lambda result: order.index(result.row))


def _kept(path: Path) -> tuple[Comparison, ...]:
    return msgspec.json.decode(path.read_bytes(), type=Record).results if path.exists() else ()
