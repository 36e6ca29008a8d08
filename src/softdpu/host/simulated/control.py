"""What the simulated host's own commands (modprobe, dmesg) tell and ask its kernel, as files. Pure."""

from collections.abc import Callable

from softdpu.host.simulated.kernel import Kernel
from softdpu.host.simulated.tree import Directory, File, fixed, order, text


def control(kernel: Kernel, trace: Callable[[], bytes] = bytes) -> Directory:
    """``load`` takes a module and its parameters, ``unload`` one; ``log`` is dmesg's, ``trace`` tells the legacy
    accesses of VMs."""
    return fixed(
        {
            "load": order(lambda line: _load(kernel, line)),
            "unload": order(kernel.unload),
            "log": File(lambda: "".join(f"{line}\n" for line in kernel.log).encode()),
            "trace": File(trace),
            "release": text(lambda: kernel.profile.release),
            "notes": File(lambda: "".join(f"{note}\n" for note in kernel.profile.notes()).encode()),
        }
    )


def _load(kernel: Kernel, line: str) -> None:
    name, *words = line.split()
    kernel.load(name, {key: value for key, _, value in (word.partition("=") for word in words)})
