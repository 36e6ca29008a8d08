"""The lab itself, and copies of it that a test may spoil."""

import os
import shutil
from pathlib import Path

import pytest

from softdpu.lab import Lab
from softdpu.lab.kernels import NAMES


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab of this machine, built if need be."""
    return Lab().build()


@pytest.fixture
def copy(lab: Lab, tmp_path: Path) -> Lab:
    """A copy that shares its files with the real cache: a test may replace files, never write into them."""
    parts = (
        "qemu",
        "qemu-7.2",
        "tools",
        *(f"kernel-{name}" for name in NAMES),
        *(lab.initramfs(name).parent.name for name in NAMES),
    )
    for part in parts:
        shutil.copytree(lab.cache / part, tmp_path / "lab" / part, symlinks=True, copy_function=os.link)
    return Lab(tmp_path / "lab")
