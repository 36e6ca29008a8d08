"""Which kernel is chosen, and which of its modules."""

import pytest

from softdpu.lab import LabError, kernels
from softdpu.lab.versions import newest

MODULES = {
    "virtio_net": b"\0depends=net_failover,virtio-ring\0",
    "net_failover": b"\0depends=failover\0",
    "failover": b"\0depends=\0",
    "virtio_ring": b"\0license=GPL\0depends=\0",
}


def test_newer_is_by_number_not_by_letter() -> None:
    names = ["linux-image-6.12.94+deb13-cloud-amd64", "linux-image-6.12.107+deb13-cloud-amd64"]
    assert newest(names, r"linux-image-6\.12\..*") == "linux-image-6.12.107+deb13-cloud-amd64"
    assert newest(reversed(names), r"linux-image-6\.12\..*") == "linux-image-6.12.107+deb13-cloud-amd64"


def test_none_matches() -> None:
    assert newest(["linux-image-6.1.0-50-amd64"], r"linux-image-6\.12\..*") is None


def test_unsigned_and_other_flavours_are_not_taken() -> None:
    names = [
        "linux-image-6.1.0-9-cloud-amd64",
        "linux-image-6.1.0-50-cloud-amd64",
        "linux-image-6.1.0-51-cloud-amd64-unsigned",
        "linux-image-6.1.0-52-rt-amd64",
    ]
    choice = kernels.choose(kernels.recipe_of("6.1"), names)
    assert choice == kernels.Choice("6.1.0-50-cloud-amd64", ("linux-image-6.1.0-50-cloud-amd64",))


def test_a_split_kernel_comes_with_its_modules() -> None:
    names = ["linux-binary-7.3.4+deb13-cloud-amd64", "linux-binary-7.2.11+deb13-cloud-amd64"]
    choice = kernels.choose(kernels.recipe_of("7.3"), names)
    assert choice.release == "7.3.4+deb13-cloud-amd64"
    assert choice.packages == ("linux-binary-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64")


def test_a_later_backport_stands_in_for_one_that_has_left() -> None:
    names = ["linux-binary-7.2.11+deb13-cloud-amd64", "linux-binary-7.4.2+deb13-cloud-amd64"]
    assert kernels.choose(kernels.recipe_of("7.3"), names).release == "7.4.2+deb13-cloud-amd64"


def test_an_earlier_backport_never_stands_in() -> None:
    with pytest.raises(LabError, match=r"kernel 7\.3 cannot be built"):
        kernels.choose(kernels.recipe_of("7.3"), ["linux-binary-7.2.11+deb13-cloud-amd64"])


def test_an_unknown_kernel_is_refused_with_the_choice() -> None:
    with pytest.raises(LabError, match=r"no kernel '5\.10': choose one of 6\.1, 6\.12, 7\.3"):
        kernels.recipe_of("5.10")


def test_modules_come_after_what_they_need() -> None:
    assert kernels.closure(["virtio_net"], MODULES) == ["failover", "net_failover", "virtio_ring", "virtio_net"]


def test_a_built_in_module_is_passed_over() -> None:
    assert kernels.closure(["virtio_pci", "failover"], MODULES) == ["failover"]


def test_modules_dep_names_all_that_a_module_needs_nearest_first() -> None:
    text = kernels.dependency_file(kernels.closure(["virtio_net"], MODULES), MODULES)
    assert text.splitlines() == [
        "failover.ko:",
        "net_failover.ko: failover.ko",
        "virtio_ring.ko:",
        "virtio_net.ko: virtio_ring.ko net_failover.ko failover.ko",
    ]
