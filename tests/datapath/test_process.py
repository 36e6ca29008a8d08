"""The datapath's process: found, started, joined again, waited for."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from softdpu.datapath import process
from softdpu.datapath.client import DatapathLink
from softdpu.datapath.process import DatapathUnavailable
from tests.dpu_under_test import BUILT


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="dp-") as folder:
        yield Path(folder)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTDPU_DATAPATH", os.environ.get("SOFTDPU_DATAPATH") or str(BUILT))


def orphan() -> int:
    """A process whose parent has ended."""
    script = "import subprocess as s; print(s.Popen(['sleep', '60'], stdout=s.DEVNULL, stderr=s.DEVNULL).pid)"
    return int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)


def gone(pid: int) -> bool:
    """Whether it has ended; init may not have looked at it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def attached(folder: Path) -> tuple[DatapathLink, bool]:
    link, fresh = await process.join(folder / "socket", folder / "log")
    found = DatapathLink(link, lambda _: pytest.fail("nothing is asked"), lambda: None)
    assert await found.attach() == []
    return found, fresh


async def test_the_next_controller_joins_the_same_process(folder: Path, built: None) -> None:
    first, fresh = await attached(folder)
    first.close()
    second, again = await attached(folder)
    assert (fresh, again) == (True, False)
    assert second.pid == first.pid
    assert os.getsid(second.pid) == second.pid, "what ends the controller's session does not end it"
    second.close()
    os.kill(first.pid, signal.SIGKILL)
    await process.ended(first.pid)
    assert gone(first.pid)


async def test_a_socket_that_a_dead_one_left_is_replaced(folder: Path, built: None) -> None:
    first, _ = await attached(folder)
    os.kill(first.pid, signal.SIGKILL)
    await process.ended(first.pid)
    first.close()
    second, fresh = await attached(folder)
    assert fresh
    assert second.pid != first.pid
    os.kill(second.pid, signal.SIGKILL)
    await process.ended(second.pid)
    second.close()


async def test_the_end_of_a_process_that_is_not_our_child_is_waited_for() -> None:
    """The datapath of a controller that was killed is init's child."""
    pid = orphan()
    waiting = asyncio.create_task(process.ended(pid, 30))
    await asyncio.sleep(0)
    assert not waiting.done()
    os.kill(pid, signal.SIGKILL)
    await waiting
    assert gone(pid)


async def test_a_process_that_is_not_there_has_ended() -> None:
    pid = orphan()
    os.kill(pid, signal.SIGKILL)
    await process.ended(pid)
    await process.ended(pid)


def test_a_program_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTDPU_DATAPATH", "/nowhere")
    with pytest.raises(DatapathUnavailable, match="run make install"):
        process.binary()


def test_a_file_that_is_no_program_leaves_no_socket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "text").write_text("no program")
    (folder / "text").chmod(0o755)
    monkeypatch.setenv("SOFTDPU_DATAPATH", str(folder / "text"))
    with pytest.raises(DatapathUnavailable, match="cannot be started"):
        process.start(folder / "socket", folder / "log")
    assert not (folder / "socket").exists()


def test_nobody_listens_where_there_is_no_socket(folder: Path) -> None:
    assert process.connect(folder / "socket") is None


async def test_a_datapath_that_was_killed_is_known_while_it_ends(folder: Path, built: None) -> None:
    """Whoever connects to it would wait until the kernel has taken its taps."""
    link, _ = await attached(folder)
    assert process.ending(folder / "socket") == 0
    os.kill(link.pid, signal.SIGKILL)
    os.waitid(os.P_PID, link.pid, os.WEXITED | os.WNOWAIT)
    assert process.ending(folder / "socket") == link.pid
    os.waitpid(link.pid, 0)
    assert process.ending(folder / "socket") == 0
    link.close()


def test_another_process_of_that_number_is_none_that_ends(folder: Path) -> None:
    child = subprocess.Popen(["true"])
    (folder / "socket.pid").write_text(f"{child.pid}\n")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process.ending(folder / "socket") == 0
    child.wait()
