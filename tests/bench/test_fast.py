"""A regression is told plainly."""

from pathlib import Path

import pytest

from tools.bench.fast import compare, recorded


def test_what_is_slower_than_recorded_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare({"a": 1.2, "b": 1.05, "new": 9.0}, {"a": 1.0, "b": 1.0, "gone": 1.0}) == ["a"]
    assert capsys.readouterr().out == "REGRESSION: a takes 1.20 × a memcpy, and took 1.00 ×\n"


def test_nothing_recorded_is_no_regression(tmp_path: Path) -> None:
    assert compare({"a": 1.0}, recorded(tmp_path / "none")) == []
