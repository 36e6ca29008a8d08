"""How much is logged, and for how long."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from softdpu.controller import verbosity
from softdpu.controller.root import Root
from tests.dpu_under_test import Dpu


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    logger = logging.getLogger("softdpu")
    before = logger.level
    yield Root(tmp_path)
    logger.setLevel(before)


def test_what_the_operator_said_is_kept(root: Root) -> None:
    assert verbosity.kept(root) is None
    verbosity.keep(root, "err")
    assert verbosity.kept(root) == "err"
    assert logging.getLogger("softdpu").level == logging.ERROR


@pytest.mark.parametrize("content", [b"", b"loud", b"\xff", b"info\n"])
def test_what_is_no_level_counts_for_nothing(root: Root, content: bytes) -> None:
    root.run.mkdir(parents=True)
    (root.run / verbosity.FILE).write_bytes(content)
    assert verbosity.kept(root) is None


def test_a_restart_does_not_forget_it(own_dpu: Dpu) -> None:
    own_dpu.virtnet("log", "-l", "err")
    written = own_dpu.log.read_text()
    own_dpu.virtnet("restart")
    own_dpu.restart_controller()
    own_dpu.unplug(own_dpu.hotplug())
    assert own_dpu.log.read_text() == written
    own_dpu.virtnet("log", "-l", "info")
    own_dpu.unplug(own_dpu.hotplug())
    assert "created, served at" in own_dpu.log.read_text().removeprefix(written)
