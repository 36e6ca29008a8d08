"""``-device vfio-pci,host=BDF`` on this host: the same QEMU, told to drive the function over its socket."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from softdpu.lab import Lab
from softdpu.lab.build import QEMUS

DEVICES = Path("/sys/bus/pci/devices")
VFIO = ("vfio-pci", "virtio_vfio_pci")
MEMORY = "softdpu-memory"
DEFAULT_SIZE = "128M"  # QEMU's own


class NotThere(Exception):
    """The function cannot be given to a VM as it is; the text is QEMU's, as far as it has one."""


def become(words: Sequence[str]) -> NoReturn:
    """This process goes on as the lab's QEMU with these words. Raises NotThere."""
    prefix = Lab().build().qemu(QEMUS[0])
    command = prefix.qemu(*rewritten(words))
    os.execve(command[0], command, prefix.environment())


def rewritten(words: Sequence[str], devices: Path = DEVICES) -> list[str]:
    """The words with each vfio-pci device replaced, and memory that the datapath can map. Raises NotThere."""
    given = [_device(word, devices) if before == "-device" else word for before, word in _pairs(words)]
    if not any("vfio-user-pci" in word for word in given) or any("share=on" in word for word in given):
        return given
    return [*_shared(given), "-object", f"memory-backend-memfd,id={MEMORY},size={_size(given)},share=on"]


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    return zip(("", *words), words, strict=False)


def _device(word: str, devices: Path) -> str:
    kind, *options = word.split(",")
    if kind != "vfio-pci":
        return word
    values = dict(option.partition("=")[::2] for option in options)
    address = values.pop("host", "")
    function = devices / (address if address.count(":") == 2 else f"0000:{address}")
    if not function.exists():
        raise NotThere(f"-device {word}: vfio {address}: no such host device: {function}")
    driver = (function / "driver").readlink().name if (function / "driver").is_symlink() else ""
    if driver not in VFIO:
        raise NotThere(f"-device {word}: vfio {address}: it is bound to {driver or 'no driver'}, not to a VFIO driver")
    socket = {"type": "unix", "path": (function / "softdpu_socket").read_text().strip()}
    return json.dumps({"driver": "vfio-user-pci", "socket": socket, **values})


def _shared(words: Sequence[str]) -> Iterator[str]:
    machines = [at for at, (before, _) in enumerate(_pairs(words)) if before in ("-machine", "-M")]
    for at, word in enumerate(words):
        yield f"{word},memory-backend={MEMORY}" if at in machines else word
    if not machines:
        yield from ("-machine", f"q35,memory-backend={MEMORY}")


def _size(words: Sequence[str]) -> str:
    given = next((word for before, word in _pairs(words) if before == "-m"), DEFAULT_SIZE)
    size = given.split(",")[0].removeprefix("size=")
    return f"{size}M" if size.isdigit() else size
