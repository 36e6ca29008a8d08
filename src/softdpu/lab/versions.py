"""The newest of several package names, as `sort -V` would order them."""

from __future__ import annotations

import re
from collections.abc import Iterable


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key in which runs of digits compare as numbers: 6.12.94 comes before 6.12.107."""
    return [(0, int(run), "") if run.isdigit() else (1, 0, run) for run in re.findall(r"\d+|\D+", name)]


def newest(names: Iterable[str], pattern: str) -> str | None:
    """The last in natural order of the names that `pattern` matches in full, or None."""
    return max((name for name in names if re.fullmatch(pattern, name)), key=natural, default=None)
