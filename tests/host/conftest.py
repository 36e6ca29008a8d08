"""What the tests of hosts share."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from softdpu.lab import Lab


@pytest.fixture(scope="session", autouse=True)
def lab() -> Lab:
    """QEMU, fetched if it was never used before."""
    return Lab().build()


@pytest.fixture
def qmp() -> Iterator[Path]:
    """A short path for a QMP socket: socket paths have 108 bytes at most."""
    with TemporaryDirectory(prefix="sdpu-") as folder:
        yield Path(folder) / "qmp"
