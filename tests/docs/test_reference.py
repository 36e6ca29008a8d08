"""The reference pages, and what other pages quote of them, are what the code says today."""

import sys
from pathlib import Path

import pytest

from softdpu.cli.reference import modern_diagram, pages

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = DOCS / "reference"
COMMANDS = ("virtnet.md", "mlxconfig.md", "softdpu.md")
HELP_IS_LAID_OUT_OTHERWISE = (3, 13)  # argparse of this and later versions


@pytest.mark.parametrize("name", pages())
def test_page_is_current(name: str) -> None:
    if name in COMMANDS and sys.version_info >= HELP_IS_LAID_OUT_OTHERWISE:
        pytest.skip("the pages are made with the Python of Debian 12, and this one lays out help otherwise")
    assert (REFERENCE / name).read_text(encoding="utf-8") == pages()[name], "run softdpu docs"


def test_no_page_is_left_over() -> None:
    assert {file.name for file in REFERENCE.iterdir()} == set(pages())


def test_architecture_shows_the_status_machine_of_the_code() -> None:
    assert modern_diagram() in (DOCS / "architecture.md").read_text(encoding="utf-8")
