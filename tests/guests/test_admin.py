"""Stock drivers and the administration virtqueue: virtio_pci sets it up, asks for its lists and takes what it knows."""

import json
import re
import shlex
from typing import Any

import pytest

from softdpu.lab import Guest
from softdpu.spec import admin
from softdpu.spec import features as f
from softdpu.spec.admin import Opcode
from tests.dpu_under_test import FIRMWARE, Dpu
from tests.guests.bench import Bench

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]

FOUR_VFS = {**FIRMWARE, "VIRTIO_NET_EMULATION_NUM_PF": 1, "VIRTIO_NET_EMULATION_NUM_VF": 4}
MODIFY_AND_QUERY = admin.bitmap(Opcode.RESOURCE_OBJ_MODIFY, Opcode.RESOURCE_OBJ_QUERY)
# What each kernel takes of the list: VIRTIO_ADMIN_CMD_BITMAP of its virtio_pci, with CONFIG_VIRTIO_PCI_ADMIN_LEGACY.
TAKEN = {"6.12": admin.LEGACY, "7.3": admin.LEGACY | admin.CAPABILITIES | admin.PARTS & ~MODIFY_AND_QUERY}


def administration(dpu: Dpu) -> dict[str, Any]:
    shown: dict[str, Any] = dpu.virtnet("stats", "-p", 0).json["device"]["admin-queue"]
    return shown


@pytest.mark.parametrize("kernel", TAKEN)
def test_a_stock_kernel_completes_list_query_and_list_use(kernel: str) -> None:
    with Dpu(FOUR_VFS, lm_prov="kernel") as dpu:
        words = shlex.split(Bench(dpu).softdpu("qemu-args"))
        devices = [json.loads(word) for word in words if word.startswith("{") and "vfio-user-pci" in word]
        with Guest(kernel, devices=devices) as guest:
            guest.wait_for("ls /sys/class/net/*/device/driver", timeout=30)
            shown = administration(dpu)
            driver = dpu.virtnet("query", "-p", 0).json["devices"][0]
            said = guest.run("dmesg | grep -i admin || true").output
            log = dpu.log.read_text()
    assert int(driver["driver_features"]["value"], 16) >> f.ADMIN_VQ & 1
    assert shown["commands"]["LIST_QUERY"] == {"done": 1, "refused": 0}
    assert shown["commands"]["LIST_USE"] == {"done": 1, "refused": 0}
    assert all(count["refused"] == 0 for count in shown["commands"].values())
    assert ("DRIVER_CAP_SET" in shown["commands"]) == bool(TAKEN[kernel] & admin.CAPABILITIES)
    query, use = shown["recent"][:2]
    offered = int.from_bytes(bytes.fromhex(query.split("> ")[1]), "little")
    taken = re.fullmatch(r"LIST_USE SR-IOV member 0 < ([0-9a-f]{16}): OK", use)
    assert taken, use
    assert int.from_bytes(bytes.fromhex(taken[1]), "little") == offered & TAKEN[kernel]
    assert "error" not in said, said
    assert "administration: LIST_USE SR-IOV" in log
