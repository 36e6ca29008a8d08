"""The lab itself, and copies of it that a test may spoil."""

import os
import shutil
from pathlib import Path

import pytest

from softdpu.lab import Lab


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab of this machine, built if need be."""
    return Lab().build()


@pytest.fixture
def copy(lab: Lab, tmp_path: Path) -> Lab:
    """A copy that shares its files with the real cache: a test may replace files, never write into them."""
    shutil.copytree(lab.cache, tmp_path / "lab", symlinks=True, copy_function=os.link)
    return Lab(tmp_path / "lab")
