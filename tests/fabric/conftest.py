"""Network namespaces that the tests make and remove."""

import os
import uuid
from collections.abc import Iterator

import pytest

from tests.fabric.namespaces import ip


@pytest.fixture
def netns() -> Iterator[str]:
    """A namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("making network namespaces needs root")
    name = f"sdpu-{uuid.uuid4().hex[:8]}"
    ip("netns", "add", name)
    yield name
    ip("netns", "del", name)
