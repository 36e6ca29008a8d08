"""Hot plug: each device is itself, many at once too, and nothing is left of one that goes."""

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from softdpu.api.client import Client
from softdpu.controller.errors import OperatorError
from softdpu.testkit import Client as Vmm
from softdpu.testkit import ModernDriver
from tests.controller.left import listing, things
from tests.dpu_under_test import Dpu, Plugged
from tests.small_guest import SmallGuest

REPLY = ["bdf", "vuid", "id", "transitional", "sf_rep_net_device", "mac", "errno", "errstr"]
IDS = ("pf_id", "vuid", "pci_bdf", "pci_vhca_id", "sf_num", "sf_rep_net_device", "sf_rep_net_ifindex", "export_socket")


def assert_distinct(dpu: Dpu, count: int) -> None:
    devices = listing(dpu)["devices"]
    for key in IDS:
        assert len({device[key] for device in devices}) == count, key


def test_reply_is_that_of_the_product(own_dpu: Dpu) -> None:
    line = "hotplug -i mlx5_0 -f 0x0 -m 0C:C4:7A:FF:22:93 -t 1500 -n 3 -s 1024 -l"
    reply = own_dpu.virtnet(*line.split()).json
    assert list(reply) == REPLY
    assert (reply["transitional"], reply["sf_rep_net_device"]) == (1, "en3f0pf0sf2000")
    assert (reply["id"], reply["mac"]) == (0, "0C:C4:7A:FF:22:93")
    assert (reply["errno"], reply["errstr"]) == (0, "Success")


def test_twenty_at_once_are_twenty_devices(own_dpu: Dpu) -> None:
    with ThreadPoolExecutor(20) as operators:
        plugged = list(operators.map(lambda _: own_dpu.hotplug(), range(20)))
        assert len({device.vuid for device in plugged}) == 20
        assert_distinct(own_dpu, 20)
        list(operators.map(own_dpu.unplug, plugged))
    assert listing(own_dpu)["devices"] == []


def test_all_31_ports_are_used(own_dpu: Dpu) -> None:
    for _ in range(31):
        own_dpu.hotplug()
    assert_distinct(own_dpu, 31)
    own_dpu.restart_controller()
    assert_distinct(own_dpu, 31)


def come_and_go(dpu: Dpu, times: int) -> None:
    for _ in range(times):
        dpu.unplug(dpu.hotplug())


def test_listing_while_devices_come_and_go(own_dpu: Dpu) -> None:
    """Every answer is whole: no device is shown half made."""
    with ThreadPoolExecutor(2) as operators:
        changing = operators.submit(come_and_go, own_dpu, 20)
        while not changing.done():
            for device in listing(own_dpu)["devices"]:
                assert device["sf_rep_net_ifindex"] > 0
        changing.result()


def test_unplugging_gives_everything_back(own_dpu: Dpu) -> None:
    before = things(own_dpu)
    device = own_dpu.hotplug()
    assert len(things(own_dpu).files) == 1
    own_dpu.unplug(device)
    assert things(own_dpu) == before


def test_a_freed_slot_is_used_again_and_the_others_keep_theirs(own_dpu: Dpu) -> None:
    first, second = own_dpu.hotplug(), own_dpu.hotplug()
    own_dpu.unplug(first)
    assert own_dpu.query(second)["vuid"] == second.vuid
    assert own_dpu.hotplug().vuid == first.vuid


def test_a_client_that_goes_away_gets_its_device_all_the_same(own_dpu: Dpu) -> None:
    """Or none at all, but never half of one."""
    body = json.dumps(
        {"ib_device": "mlx5_0", "mac": "0c:c4:7a:00:00:01", "mtu": 1500, "max_queues": 3, "max_queue_size": 64}
    )
    request = (
        f"POST /v1/hotplug HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX) as operator:
        operator.connect(str(own_dpu.root / "run/virtnet/controller.sock"))
        operator.sendall((request + body).encode())
        operator.shutdown(socket.SHUT_RDWR)
    later = own_dpu.hotplug()  # has its turn after
    vuids = [device["vuid"] for device in listing(own_dpu)["devices"]]
    assert len(things(own_dpu).files) == len(vuids)
    with Vmm(own_dpu.root / f"run/virtnet/{vuids[0]}.sock") as vmm:
        vmm.negotiate()
    own_dpu.unplug(later)


def test_sigterm_amid_hotplugs_leaves_whole_devices(own_dpu: Dpu) -> None:
    with ThreadPoolExecutor(8) as operators:
        asked = [operators.submit(own_dpu.hotplug) for _ in range(8)]
        asked[0].result()
        assert own_dpu.controller is not None
        own_dpu.controller.send_signal(signal.SIGTERM)
        own_dpu.controller.wait()
    plugged: list[Plugged] = [request.result() for request in asked if request.exception() is None]
    own_dpu.start_controller()
    there = {device["vuid"] for device in listing(own_dpu)["devices"]}
    assert there == {device.vuid for device in plugged} == set(things(own_dpu).files)


def test_mtu_of_the_representor_follows_the_device(dpu: Dpu, device: Plugged) -> None:
    for mtu in (9000, 1400):
        dpu.modify(device, mtu=mtu)
        assert f"mtu {mtu} " in dpu.ip("link", "show", device.representor)
        assert dpu.query(device)["mtu"] == str(mtu)


def test_a_wide_representor_is_enough_for_a_device(dpu: Dpu) -> None:
    device = dpu.hotplug(mtu=9000)
    assert "mtu 9000 " in dpu.ip("link", "show", device.representor)
    dpu.unplug(device)


def test_link_of_the_device_is_the_carrier_of_its_representor(dpu: Dpu, device: Plugged) -> None:
    dpu.modify(device, link=0)
    assert "NO-CARRIER" in dpu.ip("link", "show", device.representor)
    dpu.modify(device, link=1)
    assert "NO-CARRIER" not in dpu.ip("link", "show", device.representor)


def test_modifying_all_devices_with_one_bound_changes_none(own_dpu: Dpu) -> None:
    free, bound = own_dpu.hotplug(), own_dpu.hotplug()
    with SmallGuest(bound, ModernDriver):
        reply = own_dpu.virtnet("modify", "-a", "device", "-t", 9000, check=False)
    assert reply.status == 1
    for device in (free, bound):
        assert own_dpu.query(device)["mtu"] == "1500"
        assert "mtu 1500 " in own_dpu.ip("link", "show", device.representor)


def test_a_power_cycle_is_refused_while_a_host_uses_a_device(own_dpu: Dpu) -> None:
    device = own_dpu.hotplug()
    with SmallGuest(device), pytest.raises(OperatorError, match=f"that use {device.vuid}: .* or add --force"):
        Client(own_dpu.root / "run/virtnet/controller.sock").post("/v1/power-cycle", {"force": False})
    assert own_dpu.query(device)["vuid"] == device.vuid


def test_slots_stay_apart_when_the_host_gave_the_address(own_dpu: Dpu) -> None:
    """A recovery file holds the host's address of a device, which says nothing of its slot."""
    first = own_dpu.hotplug()
    file = own_dpu.root / "opt/mellanox/mlnx_virtnet/recovery" / first.vuid
    file.write_text(json.dumps(json.loads(file.read_text()) | {"bdf_raw": 0x0100}))
    own_dpu.kill_controller()
    own_dpu.kill_datapath()
    own_dpu.start_controller()
    assert own_dpu.query(first)["pci_bdf"] == "01:00.0"
    assert own_dpu.hotplug().vuid != first.vuid
