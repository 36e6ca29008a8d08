"""QEMU's command line on the simulated host: vfio-pci becomes what drives the function's socket."""

import json
from pathlib import Path

import pytest

from softdpu.host.simulated.vm import NotThere, rewritten

BDF = "0000:14:01.0"


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """A function that a VFIO driver has."""
    folder = tmp_path / BDF
    folder.mkdir()
    (folder / "driver").symlink_to("../../drivers/virtio_vfio_pci")
    (folder / "softdpu_socket").write_text("/run/vf0.sock\n")
    return tmp_path


def test_the_function_is_driven_over_its_socket_and_all_else_stays(devices: Path) -> None:
    words = ["-m", "1024", "-device", f"vfio-pci,host={BDF},id=hostdev0,bus=pci.2,addr=0x1", "-nographic"]
    given = rewritten(words, devices)
    assert json.loads(given[3]) == {
        "driver": "vfio-user-pci",
        "socket": {"type": "unix", "path": "/run/vf0.sock"},
        "id": "hostdev0",
        "bus": "pci.2",
        "addr": "0x1",
    }
    assert "memory-backend-memfd,id=softdpu-memory,size=1024M,share=on" in given
    assert "q35,memory-backend=softdpu-memory" in given


def test_a_machine_that_was_chosen_gets_the_memory(devices: Path) -> None:
    given = rewritten(["-machine", "pc,accel=kvm", "-device", "vfio-pci,host=14:01.0"], devices)
    assert given[1] == "pc,accel=kvm,memory-backend=softdpu-memory"


def test_memory_that_is_shared_already_stays_as_it_is(devices: Path) -> None:
    words = ["-object", "memory-backend-memfd,id=m,size=1G,share=on", "-device", "vfio-pci,host=14:01.0"]
    assert rewritten(words, devices)[:2] == words[:2]
    assert len(rewritten(words, devices)) == len(words)


def test_a_vm_without_such_a_device_is_left_alone(devices: Path) -> None:
    words = ["-m", "1024", "-device", "virtio-net-pci"]
    assert rewritten(words, devices) == words


def test_a_function_must_be_there_and_bound_to_a_vfio_driver(devices: Path) -> None:
    with pytest.raises(NotThere, match="no such host device"):
        rewritten(["-device", "vfio-pci,host=99:00.0"], devices)
    (devices / BDF / "driver").unlink()
    with pytest.raises(NotThere, match="bound to no driver"):
        rewritten(["-device", f"vfio-pci,host={BDF}"], devices)
