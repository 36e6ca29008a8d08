"""The lab's cache: QEMU, kernels and guest file systems, fetched from Debian once and checked before each use."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from softdpu.lab import firmware, initramfs, kernels, prefix, progress
from softdpu.lab.apt import SUITES, PrivateApt
from softdpu.lab.errors import LabError
from softdpu.lab.parts import Part, discard_older, discard_partial
from softdpu.lab.prefix import Prefix
from softdpu.lab.sources import machine_mirrors

# Raise a number when the part of that name is made differently: caches in the field are then made anew.
_QEMU_RECIPE = "qemu 1"
_OLD_QEMU_RECIPE = "qemu 7.2 1"
_TOOLS_RECIPE = "tools 1"
_KERNEL_RECIPE = "kernel 1"
_FIRMWARE_RECIPE = "firmware 1"

# For this long, guest file systems of other versions stay in a cache.
_KEPT_SECONDS = 7 * 24 * 3600


QEMUS = ("11.1", "7.2")
OLD_QEMU = "7.2"  # Debian 12's own: it has vhost-user and no vfio-user
OLD_SUITE = "bookworm"


class Lab:
    """QEMU 11.1 and 7.2, and the kernels 6.1, 6.12 and 7.3, ready to boot.

    `cache` is where it lives, by default the directory in the environment variable SOFTDPU_LAB, else
    ~/.cache/softdpu/lab. About 100 MB are fetched once; any number of processes may share a cache.
    """

    def __init__(self, cache: Path | None = None) -> None:
        chosen = cache or Path(os.environ.get("SOFTDPU_LAB") or "~/.cache/softdpu/lab")
        self.cache = chosen.expanduser().absolute()

    @property
    def prefix(self) -> Prefix:
        """Where QEMU and iperf3 run from."""
        return Prefix(self.cache / "qemu")

    def qemu(self, version: str = "11.1") -> Prefix:
        """Where QEMU "11.1" or "7.2" runs from."""
        return Prefix(self.cache / f"qemu-{OLD_QEMU}") if version == OLD_QEMU else self.prefix

    def kernel_image(self, name: str) -> Path:
        """The bzImage of a kernel ("6.12")."""
        return self._kernel(name).path / "vmlinuz"

    def initramfs(self, name: str) -> Path:
        """The guest file system for a kernel."""
        return self._initramfs(name).path / "initramfs.cpio"

    def release(self, name: str) -> str:
        """What `uname -r` says in a guest with kernel `name`, such as "6.12.107+deb13-cloud-amd64"."""
        return _fact(self._kernel(name), "release")

    def qemu_version(self, version: str = "11.1") -> str:
        """In full, such as "11.1.3"."""
        return _fact(Part(self.qemu(version).root), "version")

    def firmware(self) -> Path:
        """Programs that drive a virtio-net device before any kernel does, fetched when first asked for.

        `OVMF_CODE_4M.fd` and `OVMF_VARS_4M.fd` (UEFI), `ipxe.lkrn` (iPXE as a kernel for BIOS), `snponly.efi` (iPXE
        that goes through UEFI's driver). Raises LabError.
        """
        part = Part(self.cache / "firmware")
        if part.damage(_FIRMWARE_RECIPE):
            with self._locked():
                if part.damage(_FIRMWARE_RECIPE):
                    packages = _Packages(self.cache / "apt-old", (OLD_SUITE,))
                    firmware.make(part, _FIRMWARE_RECIPE, packages.ready())
                    shutil.rmtree(packages.root, ignore_errors=True)
        return part.path

    def build(self, *, thorough: bool = False, refresh: bool = False) -> Lab:
        """Makes whatever is missing or damaged and returns itself; a whole cache costs milliseconds.

        `thorough` reads every file against its SHA-256 (else only those whose size or time changed); `refresh` makes
        everything anew from what the mirror has today. Raises LabError with a sentence for the operator.
        """
        if not refresh and self._damage(thorough) is None:
            return self
        with self._locked():
            discard_partial(self.cache)
            self._build_parts(thorough, refresh)
        return self

    def _build_parts(self, thorough: bool, refresh: bool) -> None:
        apt, old = _Packages(self.cache / "apt", SUITES), _Packages(self.cache / "apt-old", (OLD_SUITE,))
        for part, recipe, make in self._parts(apt, old):
            damage = "to be refreshed" if refresh else part.damage(recipe(), thorough=thorough)
            if damage:
                progress.say(f"{part.path.name}: {damage}")
                make(part)
        # What was fetched serves no more; the package lists alone are larger than a kernel.
        for packages in (apt, old):
            shutil.rmtree(packages.root, ignore_errors=True)

    def _damage(self, thorough: bool) -> str | None:
        checks = (part.damage(recipe(), thorough=thorough) for part, recipe, _ in self._parts(None, None))
        return next((damage for damage in checks if damage), None)

    def _parts(
        self, apt: _Packages | None, old: _Packages | None
    ) -> Iterator[tuple[Part, Callable[[], str], Callable[[Part], None]]]:
        """Each part with its recipe and its maker, in an order in which each finds what it needs already made."""

        def packages() -> PrivateApt:
            assert apt is not None
            return apt.ready()

        def make_old_qemu(part: Part) -> None:
            assert old is not None
            _make_qemu(part, _OLD_QEMU_RECIPE, old.ready(), (prefix.QEMU,))

        yield (
            Part(self.cache / "qemu"),
            lambda: _QEMU_RECIPE,
            lambda part: _make_qemu(part, _QEMU_RECIPE, packages(), prefix.PACKAGES),
        )
        yield Part(self.cache / "tools"), lambda: _TOOLS_RECIPE, lambda part: _make_tools(part, packages())
        yield Part(self.cache / f"qemu-{OLD_QEMU}"), lambda: _OLD_QEMU_RECIPE, make_old_qemu
        for recipe in kernels.RECIPES:
            yield self._kernel(recipe.name), lambda: _KERNEL_RECIPE, _kernel_maker(recipe, packages)
            yield self._initramfs(recipe.name), self._initramfs_recipe(recipe.name), self._make_initramfs(recipe.name)

    def _kernel(self, name: str) -> Part:
        return Part(self.cache / f"kernel-{kernels.recipe_of(name).name}")

    def _initramfs(self, name: str) -> Part:
        # Versions of this package that share a cache each have their own: none swaps it under another's guests.
        return Part(self.cache / f"initramfs-{kernels.recipe_of(name).name}-{initramfs.recipe()}")

    def _initramfs_recipe(self, name: str) -> Callable[[], str]:
        # An initramfs goes with its kernel's modules, so a newer kernel is another recipe.
        return lambda: f"initramfs for {self.release(name)}" if self._kernel(name).stamp() else ""

    def _make_initramfs(self, name: str) -> Callable[[Part], None]:
        def make(part: Part) -> None:
            with part.rebuild(self._initramfs_recipe(name)(), {}) as target:
                prefixes = (self.prefix, Prefix(self.cache / "tools"))
                data = initramfs.build(prefixes, self._kernel(name).path, self.release(name))
                (target / "initramfs.cpio").write_bytes(data)
            discard_older(self.cache, f"initramfs-{name}-*", _KEPT_SECONDS)

        return make

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the cache for building. A lock of a process that died is free."""
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            handle = (self.cache / "lock").open("w")
        except OSError as error:
            raise LabError(
                f"{self.cache} cannot be written ({error.strerror}): set SOFTDPU_LAB to a directory of yours."
            ) from None
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.say(f"waiting for another process that builds {self.cache}")
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _fact(part: Part, name: str) -> str:
    stamp = part.stamp()
    if stamp is None:
        raise LabError(f"{part.path} is not built: run `softdpu lab build`.")
    return stamp.facts[name]


class _Packages:
    """apt, made ready when the first part needs it: a cache that is whole never asks the network."""

    def __init__(self, root: Path, suites: Sequence[str]) -> None:
        self.root, self.suites = root, suites
        self._apt: PrivateApt | None = None

    def ready(self) -> PrivateApt:
        if self._apt is None:
            self._apt = PrivateApt(self.root, machine_mirrors(), suites=self.suites)
            with progress.bar("read package lists", 0):
                self._apt.update()
        return self._apt


def _make_qemu(part: Part, recipe: str, apt: PrivateApt, packages: Sequence[str]) -> None:
    archives = apt.fetch(f"fetch {part.path.name}", packages, dependencies=True)
    facts: dict[str, str] = {}
    with part.rebuild(recipe, facts) as target:
        prefix.unpack(archives, target)
        facts["version"] = Prefix(target).qemu_version()


def _make_tools(part: Part, apt: PrivateApt) -> None:
    archives = apt.fetch("fetch tools", prefix.TOOLS, dependencies=True)
    with part.rebuild(_TOOLS_RECIPE, {}) as target:
        prefix.unpack(archives, target)


def _kernel_maker(recipe: kernels.Recipe, packages: Callable[[], PrivateApt]) -> Callable[[Part], None]:
    def make(part: Part) -> None:
        apt = packages()
        choice = kernels.choose(recipe, apt.names())
        if not choice.release.startswith(f"{recipe.name}."):
            progress.say(f"the mirror has no kernel {recipe.name} any more: {choice.release} stands in for it")
        archives = apt.fetch(f"fetch kernel {recipe.name}", choice.packages, dependencies=False)
        with part.rebuild(_KERNEL_RECIPE, {"release": choice.release}) as target:
            kernels.extract(archives, choice.release, target)

    return make
