"""softdpu lab."""

import subprocess
import sys

import pytest

from softdpu.lab import Lab, commands

pytestmark = pytest.mark.guest


def test_build_says_what_is_there(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.command(["--cache", str(lab.cache), "build"]) == 0
    said = capsys.readouterr().out
    assert f"QEMU {lab.qemu_version()} and {lab.qemu_version('7.2')}, kernels {lab.release('6.1')}" in said


def test_json_that_is_none_is_refused_in_a_sentence(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.command(["--cache", str(lab.cache), "boot", "6.1", "--device", "{driver:x}"]) == 1
    assert "{driver:x} is not JSON" in capsys.readouterr().err


def test_boot_gives_a_shell_until_ctrl_a_x(lab: Lab) -> None:
    code = "import sys; from softdpu.lab.commands import command; sys.exit(command(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--cache", str(lab.cache), "boot", "6.1", "--append", "lab.modules=none"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = b""
        while b"Enter 'help'" not in said:
            said += process.stdout.readline()
        process.stdin.write(b"echo $((6 * 7)) $(uname -r)\n")
        process.stdin.flush()
        while f"42 {lab.release('6.1')}".encode() not in said:
            said += process.stdout.readline()
        process.stdin.write(b"\x01x")
        process.stdin.flush()
        assert process.wait(10) == 0
