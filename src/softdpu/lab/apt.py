"""Debian packages of several releases, fetched by apt into directories of our own: no root, no trace on the machine."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from softdpu.lab import progress
from softdpu.lab.errors import LabError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITES = ("trixie", "trixie-backports", "bookworm")
TOOLS = ("apt-get", "apt-cache", "dpkg-deb", "setpriv")

# For SUITES: bookworm is listed for its kernel alone; QEMU and its firmware come from the backports, their libraries
# from trixie.
PREFERENCES = """\
Package: src:qemu src:seabios
Pin: release n=trixie-backports
Pin-Priority: 990

Package: *
Pin: release n=bookworm
Pin-Priority: 50
"""

# The machine's own hooks are cleared: they would act on the machine's packages, which are none of our business.
CONFIGURATION = """\
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "{root}/preferences";
Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User "";
APT::Install-Recommends "false";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Debug::NoLocking "1";
"""

_URI = re.compile(r"^'[^']+' (?P<file>\S+) (?P<size>\d+)")


@dataclass(frozen=True)
class Archive:
    """A .deb file: its name in the archive directory and its length in bytes."""

    file: str
    size: int


class PrivateApt:
    """apt with its state, cache, sources and pins under `root`. With one suite there is nothing to pin."""

    def __init__(
        self, root: Path, mirrors: Sequence[str], keyring: Path = KEYRING, suites: Sequence[str] = SUITES
    ) -> None:
        self.root, self.mirrors, self.keyring, self.suites = root, list(mirrors), keyring, tuple(suites)
        self.archives, self.nowhere = root / "cache" / "archives", root / "nowhere"
        self.configuration = root / "apt.conf"
        self._names: list[str] | None = None

    def update(self) -> str:
        """Reads the package lists from the first mirror that has all suites, and returns it."""
        self._prepare()
        failures = []
        for mirror in self.mirrors:
            self._write_sources(mirror)
            done = self._run("apt-get", "update", "--error-on=any")
            if done.returncode == 0:
                return mirror
            unknown_key = "NO_PUBKEY, " if "NO_PUBKEY" in done.stderr else ""
            failures.append(f"{mirror}: {unknown_key}{_complaint(done.stderr)}")
        cure = "Check the network and the proxy that apt uses, then build again."
        if "NO_PUBKEY" in " ".join(failures):
            cure = "The keyring is older than trixie: apt-get install --only-upgrade debian-archive-keyring."
        raise LabError(f"no Debian mirror gives the suites {', '.join(self.suites)} ({'; '.join(failures)}). {cure}")

    def names(self) -> list[str]:
        """Every package name in the lists."""
        if self._names is None:
            self._names = self._checked("apt-cache", "pkgnames").split()
        return self._names

    def resolve(self, packages: Sequence[str], *, dependencies: bool) -> list[Archive]:
        """The archives of `packages` as apt would fetch them, with all they depend on if `dependencies`.

        apt leaves out what it finds fetched already, so it is asked where nothing is.
        """
        nowhere = ("-o", f"Dir::Cache::archives={self.nowhere}")
        listing = self._checked(
            "apt-get", *nowhere, "--print-uris", *self._verb(dependencies), *packages, folder=self.nowhere
        )
        matches = filter(None, map(_URI.match, listing.splitlines()))
        return [Archive(found["file"], int(found["size"])) for found in matches]

    def fetch(self, title: str, packages: Sequence[str], *, dependencies: bool) -> list[Path]:
        """Downloads, with a bar; apt resumes what was cut short and checks every hash. Returns the .deb files."""
        archives = self.resolve(packages, dependencies=dependencies)
        # A download must not go on beside the next build, should this one be killed.
        command = [
            "setpriv",
            "--pdeathsig",
            "TERM",
            "--",
            *self._command("apt-get", *self._verb(dependencies), *packages),
        ]
        with progress.bar(title, sum(archive.size for archive in archives), is_bytes=True) as advance:
            process = subprocess.Popen(
                command,
                cwd=self.archives,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=_environment(),
            )
            try:
                while not _ended(process):
                    advance(self._fetched(archives))
            finally:
                process.kill()
                _, stderr = process.communicate()
        paths = [self.archives / archive.file for archive in archives]
        missing = next((path for path in paths if not path.is_file()), None)
        if process.returncode or missing:
            raise LabError(f"{title} failed: {_complaint(stderr)} Build again: what was fetched is kept.")
        return paths

    def _fetched(self, archives: Sequence[Archive]) -> int:
        whole = (_size(self.archives / archive.file) for archive in archives)
        partial = (_size(self.archives / "partial" / archive.file) for archive in archives)
        return sum(whole) + sum(partial)

    def _prepare(self) -> None:
        if platform.machine() != "x86_64":
            raise LabError(f"the lab's QEMU and kernels are for x86_64, and this machine is {platform.machine()}.")
        missing = [tool for tool in TOOLS if not shutil.which(tool)]
        if missing:
            raise LabError(
                f"{missing[0]} is not there: the lab is made from Debian packages, build it on Debian 12 or newer."
            )
        if not self.keyring.is_file():
            raise LabError(
                f"{self.keyring} is not there, so packages cannot be verified: apt-get install debian-archive-keyring."
            )
        for folder in (self.root / "state/lists/partial", self.archives / "partial", self.nowhere / "partial"):
            folder.mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        (self.root / "preferences").write_text(PREFERENCES if self.suites == SUITES else "")
        self.configuration.write_text(CONFIGURATION.format(root=self.root))
        self._names = None

    def _write_sources(self, mirror: str) -> None:
        options = f"[arch=amd64 target=Packages signed-by={self.keyring}]"
        lines = (f"deb {options} {mirror} {suite} main\n" for suite in self.suites)
        (self.root / "sources.list").write_text("".join(lines))

    def _verb(self, dependencies: bool) -> tuple[str, ...]:
        return ("--download-only", "--assume-yes", "install") if dependencies else ("download",)

    def _command(self, tool: str, *arguments: str) -> list[str]:
        return [tool, "--config-file", str(self.configuration), *arguments]

    def _run(self, tool: str, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = self._command(tool, *arguments)
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=_environment(), check=False)

    def _checked(self, tool: str, *arguments: str, folder: Path | None = None) -> str:
        done = self._run(tool, *arguments, folder=folder)
        if done.returncode:
            raise LabError(f"{tool} {' '.join(arguments)} failed: {_complaint(done.stderr)}")
        return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def _ended(process: subprocess.Popen[str]) -> bool:
    try:
        process.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        return False
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _complaint(stderr: str) -> str:
    """apt's first error line, else its last words."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("E:").strip() for line in lines if line.startswith("E:")]
    return next(iter(errors), lines[-1] if lines else "no reason was given.")
