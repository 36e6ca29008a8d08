"""One controller a root; its successor by exec has the lock without a gap."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from softdpu.controller.root import Root
from softdpu.daemon.lock import INHERITED, AlreadyRunning, hold, pass_on

SUCCESSOR = """
import sys
from pathlib import Path
from softdpu.controller.root import Root
from softdpu.daemon.lock import hold
with hold(Root(Path(sys.argv[1]))): print("held")
"""


def successor(root: Path, **options: object) -> str:
    command = [sys.executable, "-c", SUCCESSOR, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    return str(done.stdout + done.stderr)


def test_a_second_controller_is_told_who_the_first_is(tmp_path: Path) -> None:
    with hold(Root(tmp_path)):
        said = successor(tmp_path)
    assert f"another controller (pid {os.getpid()})" in said
    assert "--root" in said


def test_a_lock_that_was_let_go_is_free(tmp_path: Path) -> None:
    hold(Root(tmp_path)).close()
    assert "held" in successor(tmp_path)


def test_the_successor_inherits_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INHERITED, "")
    with hold(Root(tmp_path)) as lock:
        pass_on(lock)
        assert "AlreadyRunning" in successor(tmp_path, env=os.environ | {INHERITED: ""})
        assert "held" in successor(tmp_path, pass_fds=[lock.fileno()])


@pytest.mark.parametrize("descriptor", ["", "x", "-1", "0", "99999"])
def test_what_is_no_lock_of_this_root_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, descriptor: str
) -> None:
    with hold(Root(tmp_path)):
        monkeypatch.setenv(INHERITED, descriptor)
        with pytest.raises(AlreadyRunning):
            hold(Root(tmp_path))
