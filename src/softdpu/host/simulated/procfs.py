"""/proc/ioports, /proc/iomem, /proc/modules and the like of the simulated host."""

from collections.abc import Callable, Iterator

from softdpu.host.simulated.kernel import Kernel
from softdpu.host.simulated.modules import MODULES
from softdpu.host.simulated.profile import VENDOR_IDS
from softdpu.host.simulated.resources import BASES, Layout, Placed, lay_out
from softdpu.host.simulated.tree import Directory, File, fixed

PLATFORM = (
    "0000-0cf7 : PCI Bus 0000:00",
    "  0000-001f : dma1",
    "  0020-0021 : pic1",
    "  0040-0043 : timer0",
    "  0060-0060 : keyboard",
    "  0064-0064 : keyboard",
    "  00a0-00a1 : pic2",
    "  03f8-03ff : serial",
    "0cf8-0cff : PCI conf1",
    "0d00-ffff : PCI Bus 0000:00",
)
MEMORY = ("00001000-0009ffff : System RAM", "00100000-7fffffff : System RAM")


def proc(kernel: Kernel) -> Directory:
    """The files that differ from the real machine's."""
    return fixed(
        {
            "ioports": _lines(lambda: ioports(kernel)),
            "iomem": _lines(lambda: iomem(kernel)),
            "modules": _lines(lambda: loaded(kernel)),
            "cmdline": _lines(lambda: iter([_cmdline(kernel)])),
            "cpuinfo": _lines(lambda: iter(["processor\t: 0", f"vendor_id\t: {VENDOR_IDS[kernel.profile.cpu]}"])),
            "osrelease": _lines(lambda: iter([kernel.profile.release])),
        }
    )


def ioports(kernel: Kernel) -> Iterator[str]:
    """A line a range, what is inside two spaces deeper."""
    yield from PLATFORM
    layout = _layout(kernel)
    for window in layout.windows:
        yield f"  {window.first:04x}-{window.last:04x} : PCI Bus {window.bus}"
        inside = (bar for bar in layout.placed if bar.kind == "io" and window.first <= bar.first <= window.last)
        for bar in inside:
            yield f"    {bar.first:04x}-{bar.last:04x} : {bar.function}"
            yield from (f"      {bar.first:04x}-{bar.last:04x} : {name}" for name in _claimed(kernel, bar))


def iomem(kernel: Kernel) -> Iterator[str]:
    """The same for memory."""
    yield from MEMORY
    for kind in BASES:
        bars = [bar for bar in _layout(kernel).placed if bar.kind == kind]
        if bars:
            yield f"{bars[0].first:08x}-{bars[-1].last:08x} : PCI Bus 0000:00"
        yield from (f"  {bar.first:08x}-{bar.last:08x} : {bar.function}" for bar in bars)


def loaded(kernel: Kernel) -> Iterator[str]:
    """As lsmod reads it, the last one loaded first."""
    for name in reversed(kernel.loaded):
        users = kernel.users(name)
        names = "".join(f"{user}," for user in users) or "-"
        yield f"{name} {MODULES[name].size} {len(users)} {names} Live 0x0000000000000000"


def _claimed(kernel: Kernel, bar: Placed) -> list[str]:
    legacy = kernel.loaded.get("virtio_pci", {}).get("force_legacy")
    return ["virtio-pci-legacy"] if legacy and kernel.driver_of(bar.function) == "virtio-pci" else []


def _layout(kernel: Kernel) -> Layout:
    return lay_out(kernel.functions().values())


def _cmdline(kernel: Kernel) -> str:
    return "ro quiet" if kernel.profile.iommu else "ro quiet intel_iommu=off"


def _lines(make: Callable[[], Iterator[str]]) -> File:
    return File(lambda: "".join(f"{line}\n" for line in make()).encode())
