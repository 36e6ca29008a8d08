"""Results kept in a page: rows measured anew replace their former selves, the others stay."""

from pathlib import Path

from tools.bench.rows import LATENCY, SMALL
from tools.bench.snapshot import BEGIN, END, keep

ORDER = ("small", "latency")


def test_rows_not_measured_stay_and_the_page_has_all_in_order(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    keep([LATENCY.comparison("split", (2.0,), (1.0,))], tmp_path, page, ORDER)
    keep([SMALL.comparison("split", (2.0,), (2.0,))], tmp_path, page, ORDER)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    small, latency = (text.index(row.what) for row in (SMALL, LATENCY))
    assert small < latency
    assert "| **1.00** |" in text, "what misses what it must is bold"
    assert "| 0.50 |" in text
    assert "1 of 2 reach what they must" in text


def test_a_row_measured_anew_is_there_once(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(BEGIN + END)
    for ours in (3.0, 5.0):
        keep([SMALL.comparison("split", (2.0,), (ours,))], tmp_path, page, ORDER)
    assert page.read_text().count(SMALL.what) == 1
    assert "| 2.50 |" in page.read_text()
