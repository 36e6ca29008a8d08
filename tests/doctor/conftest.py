"""Machines to examine: a few files below a directory, as a kernel would show them."""

from pathlib import Path

import pytest

from softdpu.doctor.machine import Machine

IOPORTS = """\
0000-0cf7 : PCI Bus 0000:00
  0000-001f : dma1
0cf8-0cff : PCI conf1
0d00-2fff : PCI Bus 0000:00
  1000-1fff : PCI Bus 0000:01
    1000-103f : 0000:01:00.0
      1000-103f : virtio-pci-legacy
  2000-2fff : PCI Bus 0000:02
3000-7fff : PCI Bus 0000:16
"""


class Tree:
    """A machine under construction: a recent Intel host without devices."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.release = "6.12.107+deb13-amd64"
        self.put("proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\n")
        self.put("proc/cmdline", "ro quiet\n")
        self.put("proc/ioports", IOPORTS)
        self.kernel(self.release)

    def kernel(self, release: str) -> "Tree":
        """Another kernel, without modules."""
        self.release = release
        return self.put("proc/sys/kernel/osrelease", f"{release}\n")

    def put(self, path: str, content: str | bytes) -> "Tree":
        """Writes a file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return self

    def module(self, name: str, *, loaded: bool = True, **parameters: str) -> "Tree":
        """A module of its kernel."""
        self.put(f"lib/modules/{self.release}/modules.dep", f"kernel/drivers/virtio/{name}.ko.xz: kernel/lib/a.ko.xz\n")
        if loaded:
            self.put(f"sys/module/{name}/initstate", "live\n")
        for parameter, value in parameters.items():
            self.put(f"sys/module/{name}/parameters/{parameter}", f"{value}\n")
        return self

    @property
    def machine(self) -> Machine:
        """What is examined."""
        return Machine(self.root)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A fresh one."""
    return Tree(tmp_path)
