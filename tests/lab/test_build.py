"""The cache repairs itself, and builders do not disturb each other."""

import subprocess
import sys
from pathlib import Path

import pytest

from softdpu.lab import Lab, LabError
from softdpu.lab.apt import PrivateApt
from softdpu.lab.sources import machine_mirrors

pytestmark = pytest.mark.guest


def test_a_whole_cache_is_left_as_it_is(copy: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.lstat().st_ino for path in copy.cache.rglob("*")}
    copy.build()
    assert {path: path.lstat().st_ino for path in before} == before
    assert not capsys.readouterr().err


def test_a_damaged_guest_file_system_is_made_anew(copy: Lab) -> None:
    archive = copy.initramfs("6.12")
    sound = archive.read_bytes()
    archive.unlink()
    archive.write_bytes(sound[:-4096])
    assert copy.build().initramfs("6.12").read_bytes() == sound


def test_a_damaged_kernel_is_fetched_again(copy: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    image, release = copy.kernel_image("6.1"), copy.release("6.1")
    sound = image.read_bytes()
    image.unlink()
    image.write_bytes(b"\0" * len(sound))
    copy.build()
    said = capsys.readouterr().err
    assert "kernel-6.1: vmlinuz is damaged" in said
    assert "QEMU" not in said
    assert copy.release("6.1") != release or image.read_bytes() == sound


def test_two_builders_at_once_both_find_a_whole_cache(copy: Lab) -> None:
    copy.initramfs("6.1").unlink()
    code = (
        "import sys; from pathlib import Path; from softdpu.lab import Lab; Lab(Path(sys.argv[1])).build(thorough=True)"
    )
    builders = [subprocess.Popen([sys.executable, "-c", code, str(copy.cache)]) for _ in range(2)]
    assert [builder.wait() for builder in builders] == [0, 0]
    assert copy.initramfs("6.1").stat().st_size > 0


def test_nothing_but_parts_and_the_lock_is_left(copy: Lab) -> None:
    copy.initramfs("6.1").unlink()
    (copy.cache / ".partial-qemu-abc").mkdir()
    copy.build()
    kernels = ("6.1", "6.12", "7.3")
    parts = {
        "qemu",
        "qemu-7.2",
        "tools",
        *(f"kernel-{kernel}" for kernel in kernels),
        *(copy.initramfs(kernel).parent.name for kernel in kernels),
    }
    assert {path.name for path in copy.cache.iterdir()} - {"lock", "kvm.json"} == parts


def test_a_mirror_that_does_not_answer_is_named(tmp_path: Path) -> None:
    apt = PrivateApt(tmp_path, ["file:/nonexistent/debian"])
    with pytest.raises(LabError, match=r"no Debian mirror gives the suites trixie, .*file:/nonexistent/debian"):
        apt.update()


def test_the_next_mirror_is_tried(tmp_path: Path) -> None:
    mirror = machine_mirrors()[0]
    apt = PrivateApt(tmp_path, ["file:/nonexistent/debian", mirror])
    assert apt.update() == mirror
    assert "qemu-system-x86" in apt.names()


def test_what_was_fetched_before_is_part_of_what_a_package_needs(tmp_path: Path) -> None:
    apt = PrivateApt(tmp_path, machine_mirrors())
    apt.update()
    first = apt.fetch("ethtool", ["ethtool"], dependencies=True)
    assert any(path.name.startswith("libc6_") for path in first)
    for dependencies in (True, False):
        again = apt.fetch("ethtool", ["ethtool"], dependencies=dependencies)
        assert again == (first if dependencies else [path for path in first if path.name.startswith("ethtool_")])


def test_a_machine_without_the_keyring_is_told_what_to_install(tmp_path: Path) -> None:
    apt = PrivateApt(tmp_path, machine_mirrors()[:1], keyring=tmp_path / "none.gpg")
    with pytest.raises(LabError, match="apt-get install debian-archive-keyring"):
        apt.update()


def test_a_cache_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="set SOFTDPU_LAB"):
        Lab(tmp_path / "file" / "lab").build()
