"""A part of the cache is whole or it is not there."""

import os
import time
from pathlib import Path

import pytest

from softdpu.lab.parts import Part, discard_older, discard_partial


@pytest.fixture
def part(tmp_path: Path) -> Part:
    part = Part(tmp_path / "kernel")
    with part.rebuild("v1", {"release": "6.12"}) as target:
        (target / "modules").mkdir()
        (target / "vmlinuz").write_bytes(b"kernel")
        (target / "modules/a.ko").write_bytes(b"module")
        (target / "link").symlink_to("vmlinuz")
    return part


def replace(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def test_a_finished_part_is_sound_and_tells_its_facts(part: Part) -> None:
    stamp = part.stamp()
    assert part.damage("v1", thorough=True) is None
    assert stamp is not None
    assert stamp.facts == {"release": "6.12"}


def test_a_missing_part_is_not_built(tmp_path: Path) -> None:
    assert Part(tmp_path / "none").damage("v1") == "not built"


def test_another_recipe_makes_another_part(part: Part) -> None:
    assert part.damage("v2") == "made by another version"


@pytest.mark.parametrize("name", ["vmlinuz", "modules/a.ko", "link"])
def test_a_missing_file_is_damage(part: Part, name: str) -> None:
    (part.path / name).unlink()
    assert part.damage("v1") == f"{name} is damaged"


def test_a_shorter_file_is_damage(part: Part) -> None:
    replace(part.path / "vmlinuz", b"kern")
    assert part.damage("v1") == "vmlinuz is damaged"


def test_other_contents_are_damage(part: Part) -> None:
    replace(part.path / "vmlinuz", b"Kernel")
    assert part.damage("v1") == "vmlinuz is damaged"


def test_other_contents_under_the_old_time_are_found_by_a_thorough_look(part: Part) -> None:
    image = part.path / "vmlinuz"
    before = image.stat()
    replace(image, b"Kernel")
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert part.damage("v1", thorough=True) == "vmlinuz is damaged"


def test_a_copy_with_other_times_is_sound(part: Part) -> None:
    os.utime(part.path / "vmlinuz", ns=(0, 0))
    assert part.damage("v1") is None


def test_an_unreadable_stamp_is_no_stamp(part: Part) -> None:
    (part.path / "stamp.json").write_text("{")
    assert part.damage("v1") == "not built"


def test_a_build_that_fails_leaves_the_old_part_and_nothing_else(part: Part) -> None:
    with pytest.raises(RuntimeError), part.rebuild("v2", {}) as target:
        (target / "vmlinuz").write_bytes(b"half")
        raise RuntimeError
    assert part.damage("v1", thorough=True) is None
    assert [path.name for path in part.path.parent.iterdir()] == ["kernel"]


def test_a_rebuilt_part_has_nothing_of_the_old_one(part: Part) -> None:
    with part.rebuild("v2", {}) as target:
        (target / "bzImage").write_bytes(b"new")
    assert sorted(path.name for path in part.path.iterdir()) == ["bzImage", "stamp.json"]


def test_what_a_killed_build_left_is_discarded(part: Part) -> None:
    (part.path.parent / ".partial-kernel-xyz").mkdir()
    discard_partial(part.path.parent)
    assert [path.name for path in part.path.parent.iterdir()] == ["kernel"]


def test_parts_of_other_versions_go_when_they_are_old(tmp_path: Path) -> None:
    for name, age in (("initramfs-6.1-old", 1000), ("initramfs-6.1-new", 10), ("initramfs-6.12-old", 1000)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    discard_older(tmp_path, "initramfs-6.1-*", 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["initramfs-6.1-new", "initramfs-6.12-old"]
