"""The archive format "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""

import stat
import subprocess

import pytest

from softdpu.lab import Lab, cpio


def test_parents_come_first_and_once() -> None:
    entries = cpio.with_parents([cpio.file("a/b/one", b"1"), cpio.file("a/b/two", b"2")])
    assert [entry.name for entry in entries] == ["a", "a/b", "a/b/one", "a/b/two"]
    assert stat.S_ISDIR(entries[0].mode)


def test_headers_and_data_are_aligned_to_four_bytes() -> None:
    for length in range(1, 9):
        data = cpio.archive([cpio.file("n" * length, bytes(length))])
        assert len(data) % 4 == 0
        assert data.index(b"070701", 6) % 4 == 0


def test_the_first_header_says_what_the_file_is() -> None:
    data = cpio.archive([cpio.file("init", b"#!/bin/sh\n", 0o755)])
    fields = [int(data[6 + 8 * number : 14 + 8 * number], 16) for number in range(13)]
    assert fields[1] == stat.S_IFREG | 0o755
    assert fields[6] == len(b"#!/bin/sh\n")
    assert fields[11] == len("init\0")


def test_the_same_entries_give_the_same_bytes() -> None:
    entries = [cpio.directory("dev"), cpio.character_device("dev/console", 5, 1)]
    assert cpio.archive(entries) == cpio.archive(list(entries))


@pytest.mark.guest
def test_another_reader_of_the_format_finds_every_entry(lab: Lab) -> None:
    entries = [cpio.file("etc/x", b"text"), cpio.symlink("bin", "usr/bin"), cpio.character_device("dev/console", 5, 1)]
    busybox = lab.prefix.root / "usr/bin/busybox"
    listing = subprocess.run(
        [busybox, "cpio", "-tv"], input=cpio.archive(cpio.with_parents(entries)), capture_output=True, check=True
    ).stdout.decode()
    assert [line.split(maxsplit=8)[0] for line in listing.splitlines()] == [
        "drwxr-xr-x", "-rw-r--r--", "lrwxrwxrwx", "drwxr-xr-x", "crw-------",
    ]  # fmt: skip
    assert "bin -> usr/bin" in listing
