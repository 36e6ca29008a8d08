"""Boot firmware with virtio-net drivers of its own: UEFI (OVMF) and iPXE, out of Debian's packages."""

from __future__ import annotations

import tempfile
from pathlib import Path

from softdpu.lab.apt import PrivateApt
from softdpu.lab.parts import Part
from softdpu.lab.prefix import unpack_one

PACKAGES = ("ovmf", "ipxe")
FILES = (
    "usr/share/OVMF/OVMF_CODE_4M.fd",
    "usr/share/OVMF/OVMF_VARS_4M.fd",
    "boot/ipxe.lkrn",
    "usr/lib/ipxe/snponly.efi",
)


def make(part: Part, recipe: str, apt: PrivateApt) -> None:
    """Fetches the packages and keeps FILES, by their last names."""
    archives = apt.fetch("fetch firmware", PACKAGES, dependencies=False)
    with part.rebuild(recipe, {}) as target, tempfile.TemporaryDirectory(dir=target.parent) as folder:
        for archive in archives:
            unpack_one(archive, Path(folder))
        for name in FILES:
            (Path(folder) / name).rename(target / Path(name).name)
