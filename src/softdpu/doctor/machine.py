"""What is read of a machine: /proc, /sys and its kernel's modules, below a directory that is / but for tests."""

import re
from pathlib import Path

from softdpu.doctor.limits import Version


class Machine:
    """A running machine, read-only. Files that are not there read as empty."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def read(self, path: str) -> str:
        """A text file's content; empty if it is not there or may not be read."""
        try:
            return (self.root / path).read_text(errors="replace")
        except OSError:
            return ""

    @property
    def release(self) -> str:
        """The kernel's release: 6.12.107+deb13-amd64."""
        return self.read("proc/sys/kernel/osrelease").strip()

    @property
    def kernel(self) -> Version | None:
        """Its version; None if the release does not begin with one."""
        try:
            return Version.parse(self.release)
        except ValueError:
            return None

    @property
    def arguments(self) -> tuple[str, ...]:
        """The kernel's command line, a word each."""
        return tuple(self.read("proc/cmdline").split())

    @property
    def cpu_vendor(self) -> str:
        """As /proc/cpuinfo has it: GenuineIntel, AuthenticAMD."""
        match = re.search(r"^vendor_id\s*: (\S+)", self.read("proc/cpuinfo"), re.MULTILINE)
        return match[1] if match else ""

    @property
    def devices(self) -> Path:
        """The directory of PCI functions."""
        return self.root / "sys/bus/pci/devices"

    def built_in(self, module: str) -> bool:
        """Whether a module is part of the kernel's image; that has no state of being initialised."""
        known = _modules(self.read(f"lib/modules/{self.release}/modules.builtin"))
        return module in known or (
            self.loaded(module) and not (self.root / "sys/module" / module / "initstate").exists()
        )

    def available(self, module: str) -> bool:
        """Whether it can be loaded."""
        dependencies = self.read(f"lib/modules/{self.release}/modules.dep")
        return module in _modules("\n".join(line.partition(":")[0] for line in dependencies.splitlines()))

    def loaded(self, module: str) -> bool:
        """Whether it is in the kernel now, built in or not."""
        return (self.root / "sys/module" / module).is_dir()

    def parameter(self, module: str, name: str) -> str:
        """A module parameter's value; empty if it has none or shows it to nobody."""
        return self.read(f"sys/module/{module}/parameters/{name}").strip()


def _modules(paths: str) -> set[str]:
    """Names of modules from their files' paths: kernel/drivers/virtio/virtio_pci.ko.xz."""
    return {Path(path).name.partition(".")[0].replace("-", "_") for path in paths.split()}
