"""A bus to try the simulated kernel on: real functions' configuration spaces, and a note of what was done to them."""

import errno

import msgspec

from softdpu.host.simulated.functions import PciFunction, Resource
from softdpu.host.simulated.kernel import Kernel
from softdpu.host.simulated.profile import Profile
from softdpu.net.device import Function
from softdpu.net.state import FunctionConfig, Layout

PF, OTHER = "0000:14:00.2", "0000:14:00.3"


def function(address: str, layout: Layout = "transitional", **more: object) -> PciFunction:
    """A function as a controller describes it."""
    real = Function.create(FunctionConfig(layout=layout, mac=bytes.fromhex("0cc47aff2293")))
    resources = tuple(Resource(bar.index, bar.size, bar.flags) for bar in real.bars)
    seen = PciFunction(address, f"VUID{address}", f"/run/{address}.sock", real.configuration_space, resources)
    return msgspec.structs.replace(seen, **more)


class Bus:
    """Hardware whose PFs make VFs when told, and which notes what drivers do."""

    def __init__(self, *functions: PciFunction) -> None:
        self.present = list(functions) or [function(PF, total_vfs=4), function(OTHER)]
        self.done: list[tuple[str, str, str]] = []
        self.broken: set[str] = set()

    def functions(self) -> list[PciFunction]:
        return list(self.present)

    def probe(self, driver: str, function: PciFunction, legacy: bool) -> None:
        if function.address in self.broken:
            raise OSError(errno.EIO, "it does not answer")
        self.done.append(("legacy" if legacy else "probe", driver, function.address))

    def remove(self, driver: str, function: PciFunction) -> None:
        self.done.append(("remove", driver, function.address))

    def set_vfs(self, pf: PciFunction, count: int) -> None:
        vfs = tuple(f"0000:14:01.{n}" for n in range(count))
        self.present = [each for each in self.present if each.physfn != pf.address]
        self.change(pf.address, vfs=vfs)
        self.present += [function(vf, "modern", physfn=pf.address) for vf in vfs]

    def change(self, address: str, **more: object) -> None:
        """Another state of a function."""
        self.present = [
            msgspec.structs.replace(each, **more) if each.address == address else each for each in self.present
        ]


def booted(bus: Bus | None = None, **profile: object) -> Kernel:
    """A kernel that has found its devices."""
    kernel = Kernel(msgspec.structs.replace(Profile(), **profile), bus or Bus())
    kernel.functions()
    return kernel
