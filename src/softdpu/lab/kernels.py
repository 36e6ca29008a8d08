"""The guest kernels: which packages hold them, and what is taken out of those."""

from __future__ import annotations

import lzma
import re
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from softdpu.lab.errors import LabError
from softdpu.lab.versions import newest


@dataclass(frozen=True)
class Recipe:
    """How to find a kernel: patterns of package names, each with the release as its group, in order of preference.

    Backports move on; where the kernel asked for has left the mirror, the newest that follows it stands in.
    """

    name: str
    patterns: tuple[str, ...]
    modules: str | None = None


RECIPES = (
    Recipe("6.1", (r"linux-image-(6\.1\.0-\d+-cloud-amd64)",)),
    Recipe("6.12", (r"linux-image-(6\.12\.\d+\+deb13-cloud-amd64)",)),
    Recipe(
        "7.3",
        (
            r"linux-binary-(7\.3\.\d+\+deb13-cloud-amd64)",
            r"linux-binary-((?:7\.(?:[4-9]|\d\d)|8\.\d+)\.\d+\+deb13-cloud-amd64)",
        ),
        "linux-modules-{release}",
    ),
)
NAMES = tuple(recipe.name for recipe in RECIPES)

MODULES = ("virtio_pci", "virtio_net", "8021q")
"""Modules that guests get, with all that these depend on; built-in ones are passed over."""


@dataclass(frozen=True)
class Choice:
    """A kernel that the mirror has: its release (`uname -r`) and the packages to take it from."""

    release: str
    packages: tuple[str, ...]


def recipe_of(name: str) -> Recipe:
    """The recipe of kernel `name`; LabError if there is none."""
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    raise LabError(f"the lab has no kernel {name!r}: choose one of {', '.join(NAMES)}.")


def choose(recipe: Recipe, names: Sequence[str]) -> Choice:
    """The newest kernel of `recipe` among the mirror's package `names`."""
    for pattern in recipe.patterns:
        package = newest(names, pattern)
        if package:
            release = _group(pattern, package)
            extra = (recipe.modules.format(release=release),) if recipe.modules else ()
            return Choice(release, (package, *extra))
    raise LabError(
        f"the mirror has no package {recipe.patterns[0]!r} any more, so kernel {recipe.name} cannot be built."
    )


def _group(pattern: str, package: str) -> str:
    found = re.fullmatch(pattern, package)
    assert found is not None
    return found[1]


def extract(archives: Sequence[Path], release: str, target: Path) -> None:
    """Writes `target/vmlinuz`, `target/modules/*.ko` (uncompressed) and `target/modules.dep` from the .deb files."""
    images: dict[str, bytes] = {}
    modules: dict[str, bytes] = {}
    for archive in archives:
        for name, data in _kernel_files(archive):
            (images if name == "vmlinuz" else modules)[name] = data
    if "vmlinuz" not in images:
        raise LabError(
            f"the packages of kernel {release} hold no vmlinuz: {', '.join(path.name for path in archives)}."
        )
    (target / "vmlinuz").write_bytes(images["vmlinuz"])
    needed = closure(MODULES, modules)
    (target / "modules").mkdir()
    for name in needed:
        (target / "modules" / f"{name}.ko").write_bytes(modules[name])
    (target / "modules.dep").write_text(dependency_file(needed, modules))


def _kernel_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yields ("vmlinuz", bytes) and (module name, bytes of its .ko) for what of a .deb may be wanted."""
    wanted = re.compile(r".*/kernel/(net|drivers/(net|virtio|char/hw_random))/.*\.ko(\.xz)?|.*/vmlinuz(-[^/]*)?")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isfile() and wanted.fullmatch(f"/{member.name}") else None
                if stream is not None:
                    yield _member(PurePosixPath(member.name).name, stream.read())
    if process.returncode:
        raise LabError(f"{archive} cannot be unpacked: remove it and build again.")


def _member(name: str, data: bytes) -> tuple[str, bytes]:
    if name.startswith("vmlinuz"):
        return "vmlinuz", data
    if name.endswith(".xz"):
        data = lzma.decompress(data)
    return module_name(name.split(".ko", 1)[0]), data


def module_name(name: str) -> str:
    """The one spelling of a module's name: Linux takes `-` and `_` for the same."""
    return name.replace("-", "_")


def dependencies(module: bytes) -> list[str]:
    """The modules that a .ko needs, from its .modinfo section."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return [module_name(name) for name in found[1].decode().split(",") if name] if found else []


def closure(wanted: Sequence[str], modules: dict[str, bytes]) -> list[str]:
    """Those of `wanted` that are modules, and all that they need, dependencies first."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in order and name in modules:
            for needed in dependencies(modules[name]):
                visit(needed)
            order.append(name)

    for name in wanted:
        visit(name)
    return order


def dependency_file(names: Sequence[str], modules: dict[str, bytes]) -> str:
    """The text of a modules.dep for .ko files in one folder: each with everything it needs, nearest first."""
    lines = []
    for name in names:
        needed = [other for other in reversed(closure([name], modules)) if other != name]
        lines.append(f"{name}.ko:{''.join(f' {other}.ko' for other in needed)}\n")
    return "".join(lines)
