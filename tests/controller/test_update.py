"""Live update: what its file says to the next program."""

from pathlib import Path

import pytest

from softdpu.controller.root import Root
from softdpu.controller.update import FILE, LiveUpdate


@pytest.fixture
def root(tmp_path: Path) -> Root:
    root = Root(tmp_path)
    root.run.mkdir(parents=True)
    return root


def test_status_before_the_first_one(root: Root) -> None:
    status = LiveUpdate(root).status()
    assert status == {"current status": "inactive", "last status": "none", "time_used (s)": 0.0}
    assert list(status) == ["current status", "last status", "time_used (s)"]


def test_the_next_program_finds_it_running_and_finishes_it(root: Root) -> None:
    LiveUpdate(root).start()
    successor = LiveUpdate(root)
    assert successor.running
    assert successor.status()["current status"] == "active"
    successor.finish()
    status = LiveUpdate(root).status()
    assert (status["current status"], status["last status"]) == ("inactive", "success")
    assert status["time_used (s)"] > 0


def test_finishing_what_was_not_begun_changes_nothing(root: Root) -> None:
    LiveUpdate(root).finish()
    assert not (root.run / FILE).exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"started": "now"}'])
def test_a_damaged_file_is_none(root: Root, content: bytes) -> None:
    (root.run / FILE).write_bytes(content)
    assert not LiveUpdate(root).running


def test_a_machine_that_was_booted_meanwhile_took_no_negative_time(root: Root) -> None:
    (root.run / FILE).write_text('{"started": 1e12}')
    update = LiveUpdate(root)
    update.finish()
    assert update.status()["time_used (s)"] == 0.0
