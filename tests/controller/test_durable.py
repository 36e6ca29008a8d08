"""Files are replaced whole, or stay as they were."""

import errno
from pathlib import Path

import pytest

from softdpu.controller import durable


def test_a_file_is_replaced_whole_and_nothing_is_beside_it(tmp_path: Path) -> None:
    durable.replace(tmp_path / "new" / "file", b"one")
    durable.replace(tmp_path / "new" / "file", b"two")
    assert [path.read_bytes() for path in (tmp_path / "new").iterdir()] == [b"two"]


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel answers when the disk is full, at the moment when it does."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "")

    durable.replace(tmp_path / "file", b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(durable.NotWritten, match=r"No space left on device\): free space there") as refused:
        durable.replace(tmp_path / "file", b"new")
    assert refused.value.errno == errno.ENOSPC
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_link_put_where_the_draft_goes_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"mine")
    (tmp_path / ".file.new").symlink_to("elsewhere")
    with pytest.raises(durable.NotWritten):
        durable.replace(tmp_path / "file", b"new")
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    durable.remove(tmp_path / "file")


def test_what_cannot_be_removed_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(durable.NotWritten, match="cannot be written"):
        durable.remove(tmp_path)
