"""Who is connected: found out by the process id that the datapath tells."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from softdpu.controller.peers import ended, is_qemu, named


def proc(folder: Path, *words: str) -> Path:
    (folder / "12").mkdir()
    (folder / "12/cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    return folder


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("/usr/bin/qemu-system-x86_64", "-m", "1G"), "qemu-system-x86_64"),
        (("/lib/ld.so", "--argv0", "qemu-system-x86_64", "-m"), "qemu-system-x86_64"),
        (("/usr/libexec/qemu-kvm",), "qemu-kvm"),
        (("/usr/bin/python3", "-m", "pytest", "tests/host/test_qemu.py"), "python3"),
        (("",), ""),
    ],
)
def test_a_program_is_named_by_its_command_line(tmp_path: Path, words: tuple[str, ...], name: str) -> None:
    peer = named("pid 12", proc(tmp_path, *words))
    assert peer == (f"{name} (pid 12)" if name else "pid 12")
    assert is_qemu(peer) == name.startswith("qemu")


def test_a_real_process_is_found() -> None:
    command = [sys.executable, "-c", "print('there', flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"there\n"
        assert named(f"pid {child.pid}") == f"{Path(sys.executable).name} (pid {child.pid})"
        child.communicate(b"\n")


@pytest.mark.parametrize("cause", ["", "pid 0", "pid ../1", "something else"])
def test_who_cannot_be_seen_is_nobody(cause: str) -> None:
    assert named(cause) == ""


def test_a_process_that_has_gone_is_its_number(tmp_path: Path) -> None:
    assert named(f"pid {os.getpid()}", tmp_path) == f"pid {os.getpid()}"


def test_a_process_that_has_ended_is_told_from_one_that_runs() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        peer = f"qemu (pid {child.pid})"
        assert not ended(peer)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert ended(peer), "nobody has waited for it yet"
    assert ended(peer)
    assert not ended(""), "one that cannot be seen may run"
