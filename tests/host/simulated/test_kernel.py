"""The simulated kernel: modules, binding, VFs, and Linux's errno for each mistake."""

import errno
from collections.abc import Callable

import pytest

from softdpu.doctor.limits import Version
from softdpu.host.simulated.kernel import Kernel
from tests.host.simulated.machine import OTHER, PF, Bus, booted

VF = "0000:14:01.0"


def code(act: Callable[[], None]) -> str:
    """The errno of what is refused, by name."""
    with pytest.raises(OSError, match=r".") as refused:
        act()
    return errno.errorcode[refused.value.errno or 0]


# ---- binding


def test_virtio_pci_takes_what_is_there_at_boot() -> None:
    kernel = booted()
    assert kernel.bound_to("virtio-pci") == [PF, OTHER]


def test_a_function_that_does_not_answer_stays_unbound_and_is_logged() -> None:
    bus = Bus()
    bus.broken.add(OTHER)
    kernel = booted(bus)
    assert kernel.bound_to("virtio-pci") == [PF]
    assert kernel.log == [f"virtio-pci {OTHER}: probe failed: it does not answer"]


def test_a_function_is_bound_where_an_id_was_added() -> None:
    kernel = booted()
    kernel.load("vfio-pci", {})
    kernel.unbind("virtio-pci", PF)
    assert code(lambda: kernel.bind("vfio-pci", PF)) == "ENODEV"
    kernel.new_id("vfio-pci", "0x1af4 0x1000")
    assert (kernel.driver_of(PF), kernel.driver_of(OTHER)) == ("vfio-pci", "virtio-pci")


@pytest.mark.parametrize("line", ["", "1af4", "virtio net", "1af4;1000"])
def test_an_id_that_is_none_is_invalid(line: str) -> None:
    assert code(lambda: booted().new_id("virtio-pci", line)) == "EINVAL"


def test_an_id_that_a_driver_has_exists() -> None:
    kernel = booted()
    assert code(lambda: kernel.new_id("virtio-pci", "1af4 1000")) == "EEXIST"
    kernel.load("vfio_pci", {})
    kernel.new_id("vfio-pci", "1af4 1041")
    assert code(lambda: kernel.new_id("vfio-pci", "1af4 1041")) == "EEXIST"
    kernel.remove_id("vfio-pci", "1af4 1041")
    assert code(lambda: kernel.remove_id("vfio-pci", "1af4 1041")) == "ENODEV"


def test_what_is_bound_must_be_unbound_first() -> None:
    kernel = booted()
    assert code(lambda: kernel.bind("virtio-pci", PF)) == "EBUSY"
    kernel.unbind("virtio-pci", "14:00.2")
    assert code(lambda: kernel.unbind("virtio-pci", PF)) == "ENODEV"
    assert code(lambda: kernel.bind("virtio-pci", "0000:99:00.0")) == "ENODEV"


def test_an_override_is_the_only_driver_that_matches() -> None:
    kernel = booted()
    kernel.load("vfio_pci", {})
    kernel.unbind("virtio-pci", PF)
    kernel.override(PF, "vfio-pci")
    assert code(lambda: kernel.bind("virtio-pci", PF)) == "ENODEV"
    kernel.probe(PF)
    assert kernel.driver_of(PF) == "vfio-pci"


def test_a_vm_keeps_its_function() -> None:
    bus = Bus()
    kernel = booted(bus)
    kernel.load("vfio_pci", {})
    kernel.unbind("virtio-pci", PF)
    kernel.override(PF, "vfio-pci")
    kernel.probe(PF)
    bus.change(PF, in_use=True)
    assert code(lambda: kernel.unbind("vfio-pci", PF)) == "EBUSY"


def test_vfio_needs_an_iommu() -> None:
    kernel = booted(iommu=False)
    kernel.load("vfio_pci", {})
    kernel.unbind("virtio-pci", PF)
    kernel.override(PF, "vfio-pci")
    assert code(lambda: kernel.bind("vfio-pci", PF)) == "EINVAL"


def test_a_function_that_has_gone_is_forgotten() -> None:
    bus = Bus()
    kernel = booted(bus)
    bus.present = bus.present[1:]
    assert list(kernel.functions()) == [OTHER]
    assert kernel.bound_to("virtio-pci") == [OTHER]


# ---- modules


def test_modprobe_loads_what_a_module_needs_and_removes_what_nobody_needs_then() -> None:
    kernel = booted()
    kernel.load("vfio-pci", {})
    assert list(kernel.loaded)[-4:] == ["iommufd", "vfio", "vfio_pci_core", "vfio_pci"]
    kernel.unload("vfio_pci")
    assert "iommufd" not in kernel.loaded


def test_a_reloaded_driver_takes_its_functions_in_the_way_that_it_was_told() -> None:
    bus = Bus()
    kernel = booted(bus)
    kernel.unload("virtio_pci")
    assert ("remove", "virtio-pci", PF) in bus.done
    kernel.load("virtio_pci", {"force_legacy": "1"})
    assert ("legacy", "virtio-pci", PF) in bus.done


@pytest.mark.parametrize(
    ("module", "parameters", "expected"),
    [
        ("nonsense", {}, "ENOENT"),
        ("virtio_pci", {"force": "1"}, "EINVAL"),
        ("virtio_pci", {"force_legacy": "maybe"}, "EINVAL"),
    ],
)
def test_what_modprobe_refuses(module: str, parameters: dict[str, str], expected: str) -> None:
    assert code(lambda: booted().load(module, parameters)) == expected


def test_a_module_in_use_stays() -> None:
    assert code(lambda: booted().unload("virtio_ring")) == "EBUSY"
    assert code(lambda: booted().unload("vfio_pci")) == "ENOENT"


# ---- VFs


def test_vfs_come_with_a_driver_and_go() -> None:
    kernel = booted()
    kernel.set_numvfs(PF, "2")
    assert kernel.driver_of(VF) == "virtio-pci"
    kernel.set_numvfs(PF, "0")
    assert list(kernel.functions()) == [PF, OTHER]


def test_vfs_stay_without_a_driver_where_that_was_asked() -> None:
    kernel = booted()
    kernel.autoprobe[PF] = False
    kernel.set_numvfs(PF, "2")
    assert kernel.driver_of(VF) is None


@pytest.mark.parametrize(
    ("line", "expected"), [("5", "ERANGE"), ("70000", "ERANGE"), ("-1", "EINVAL"), ("two", "EINVAL"), ("", "EINVAL")]
)
def test_a_number_of_vfs_that_cannot_be(line: str, expected: str) -> None:
    assert code(lambda: booted().set_numvfs(PF, line)) == expected


def test_the_number_of_vfs_changes_by_way_of_none_only() -> None:
    kernel = booted()
    kernel.set_numvfs(PF, "2")
    assert code(lambda: kernel.set_numvfs(PF, "3")) == "EBUSY"
    kernel.set_numvfs(PF, "2")


def test_vfs_need_a_driver_that_implements_them() -> None:
    kernel = booted()
    kernel.unbind("virtio-pci", PF)
    assert code(lambda: kernel.set_numvfs(PF, "1")) == "ENOENT"
    assert code(lambda: booted(kernel=Version(4, 17)).set_numvfs(PF, "1")) == "ENOSYS"


def test_a_vf_that_a_vm_has_keeps_them_all() -> None:
    bus = Bus()
    kernel = booted(bus)
    kernel.set_numvfs(PF, "2")
    assign(kernel, bus)
    assert code(lambda: kernel.set_numvfs(PF, "0")) == "EPERM"


def assign(kernel: Kernel, bus: Bus) -> None:
    """A VM has the first VF."""
    kernel.load("virtio_vfio_pci", {})
    kernel.unbind("virtio-pci", VF)
    kernel.new_id("virtio_vfio_pci", "1af4 1041")
    bus.change(VF, in_use=True)


def test_a_driver_that_leaves_a_pf_takes_its_vfs_with_it() -> None:
    kernel = booted()
    kernel.set_numvfs(PF, "2")
    kernel.unbind("virtio-pci", PF)
    assert VF not in kernel.functions()


# ---- limits of the manual


def test_there_is_no_driver_of_transitional_vfs_up_to_6_9() -> None:
    assert code(lambda: booted(kernel=Version(6, 9)).load("virtio_vfio_pci", {})) == "ENOENT"
    booted(kernel=Version(6, 10)).load("virtio_vfio_pci", {})
