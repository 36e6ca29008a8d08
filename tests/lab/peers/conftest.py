"""The peers need root, and are installed once."""

import os

import pytest

from softdpu.lab.peers import install


@pytest.fixture(autouse=True, scope="session")
def peers() -> None:
    """Installed."""
    if os.geteuid() != 0:
        pytest.skip("installs and starts DPDK, which takes root")
    install()
