"""Parts of the cache: directories that are either whole, as their stamp says, or not there.

A part is made in a directory beside its place, stamped when complete, and renamed into place: a build that was cut
short leaves nothing that could be mistaken for a part. The stamp lists every file with size, time and SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

STAMP = "stamp.json"


class FileStamp(msgspec.Struct, frozen=True, array_like=True):
    """A regular file: bytes, modification time in nanoseconds, SHA-256 in hexadecimal."""

    size: int
    mtime: int
    sha256: str


class Stamp(msgspec.Struct, frozen=True):
    """What a part holds. `recipe` names the way it was made: another recipe makes another part."""

    recipe: str
    facts: dict[str, str]
    files: dict[str, FileStamp]
    links: dict[str, str]


class Part:
    """One directory of the cache."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stamp(self) -> Stamp | None:
        """The stamp, or None where the part is missing or its stamp cannot be read."""
        try:
            return msgspec.json.decode((self.path / STAMP).read_bytes(), type=Stamp)
        except (OSError, msgspec.MsgspecError):
            return None

    def damage(self, recipe: str, *, thorough: bool = False) -> str | None:
        """What is wrong with the part, or None.

        Contents are read where size or time differ from the stamp's, and everywhere when `thorough`.
        """
        stamp = self.stamp()
        if stamp is None:
            return "not built"
        if stamp.recipe != recipe:
            return "made by another version"
        links = (name for name, target in stamp.links.items() if not _links_to(self.path / name, target))
        files = (name for name, file in stamp.files.items() if not _matches(self.path / name, file, thorough))
        broken = next(links, None) or next(files, None)
        return f"{broken} is damaged" if broken else None

    @contextlib.contextmanager
    def rebuild(self, recipe: str, facts: dict[str, str]) -> Iterator[Path]:
        """Gives an empty directory to fill; when the block ends well it becomes the part.

        `facts` go into the stamp as they are then.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".partial-{self.path.name}-", dir=self.path.parent))
        try:
            fresh.chmod(0o755)
            yield fresh
            (fresh / STAMP).write_bytes(msgspec.json.encode(_describe(fresh, recipe, facts)))
            self._replace(fresh)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _replace(self, fresh: Path) -> None:
        if self.path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".partial-{self.path.name}-", dir=self.path.parent))
            self.path.rename(old / "old")
            shutil.rmtree(old, ignore_errors=True)
        fresh.rename(self.path)


def discard_partial(folder: Path) -> None:
    """Removes what builds that were killed have left. Call it with the cache locked."""
    for left in folder.glob(".partial-*"):
        shutil.rmtree(left, ignore_errors=True)


def discard_older(folder: Path, pattern: str, seconds: float) -> None:
    """Removes the parts whose name matches and which were made longer ago. Call it with the cache locked."""
    for part in folder.glob(pattern):
        if time.time() - part.stat().st_mtime > seconds:
            shutil.rmtree(part, ignore_errors=True)


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _describe(folder: Path, recipe: str, facts: dict[str, str]) -> Stamp:
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    links = {str(path.relative_to(folder)): str(path.readlink()) for path in paths if path.is_symlink()}
    files = {str(path.relative_to(folder)): _stamp(path) for path in paths if not path.is_symlink()}
    return Stamp(recipe, dict(facts), files, links)


def _stamp(path: Path) -> FileStamp:
    status = path.stat()
    return FileStamp(status.st_size, status.st_mtime_ns, sha256(path))


def _links_to(path: Path, target: str) -> bool:
    return path.is_symlink() and str(path.readlink()) == target


def _matches(path: Path, stamp: FileStamp, thorough: bool) -> bool:
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return False
    if status.st_size != stamp.size:
        return False
    if status.st_mtime_ns == stamp.mtime and not thorough:
        return True
    return path.is_file() and sha256(path) == stamp.sha256
