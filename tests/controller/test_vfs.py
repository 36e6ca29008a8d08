"""VFs as devices: they come and go with their PF's VF Enable, and are in all else devices as others are."""

from collections.abc import Callable, Iterator

import pytest

from softdpu.controller.errors import OperatorError
from softdpu.pci.description import CONFIG_REGION
from softdpu.spec import admin, pci
from softdpu.spec.admin import GroupType, Opcode, Qualifier, Status
from softdpu.testkit import ADMIN_VQ, ALL_FEATURES, AdminQueue, Client, ModernDriver, frame
from softdpu.testkit.wire import Irq
from tests.controller.left import things
from tests.dpu_under_test import Dpu
from tests.small_guest import SmallGuest
from tests.vfs import PFS, SETTINGS, VFS, Physical, flr, function, listed, set_vfs
from tests.waiting import until

OUTSIDE = bytes.fromhex("02000000fffe")
SHAPE = ("num_msix", "num_queues", "max_queue_size")
CONFIGURATION = '{"vf": {"mac_base": "0C:C4:7A:10:00:00", "vfs_per_pf": 126}}'
KEYS = (
    "pf_id",
    "vf_id",
    "vuid",
    "pci_bdf",
    "sf_num",
    "sf_rep_net_device",
    "mac",
    "mtu",
    "num_msix",
    "num_queues",
    "max_queue_size",
)


@pytest.fixture(scope="module")
def module_dpu() -> Iterator[Dpu]:
    with prepared() as dpu:
        yield dpu
        assert dpu.own_mistakes() == []


def prepared() -> Dpu:
    dpu = Dpu(SETTINGS)
    place = dpu.root / "opt/mellanox/mlnx_virtnet"
    place.mkdir(parents=True)
    (place / "virtnet.conf").write_text(CONFIGURATION)
    return dpu


@pytest.fixture
def dpu(module_dpu: Dpu) -> Iterator[Dpu]:
    """A DPU with two static PFs; a test's VFs go with it, and nothing stays of them."""
    before = things(module_dpu)
    yield module_dpu
    for pf in range(PFS):
        set_vfs(module_dpu, pf, 0, force=True)
    assert things(module_dpu) == before


def who(dpu: Dpu) -> list[dict[str, object]]:
    return [{key: device[key] for key in KEYS} for device in listed(dpu)]


# ---- coming and going


def test_a_pf_shows_how_many_vfs_it_can_have_and_has(dpu: Dpu) -> None:
    set_vfs(dpu, 0, 3)
    shown = [(d["pci_max_vfs"], d["enabled_vfs"]) for d in listed(dpu, "static PF")]
    assert shown == [(str(VFS), "3"), (str(VFS), "0")]


def test_each_vf_has_an_identity_of_its_own(dpu: Dpu) -> None:
    set_vfs(dpu, 1, 2)
    pf, first, second = function(dpu, "static PF", 1), *listed(dpu)
    assert [(d["pf_id"], d["vf_id"], d["transitional"]) for d in (first, second)] == [(1, 0, 0), (1, 1, 0)]
    assert (first["vuid"], second["vuid"]) == (f"{pf.vuid}VF1", f"{pf.vuid}VF2")
    assert (first["sf_rep_net_device"], second["sf_num"]) == ("en3f0pf0sf3126", 3127)
    assert (first["mac"], second["mac"]) == ("0C:C4:7A:10:00:7E", "0C:C4:7A:10:00:7F")
    assert (first["pci_bdf"], second["pci_bdf"]) == ("14:14.6", "14:14.7")
    assert first["export"] == "vfio-user"


def test_a_vf_is_where_its_pf_says(dpu: Dpu) -> None:
    """PCIe 5.0 §9.3.3.9-10: routing id of the PF + First VF Offset + n × VF Stride."""
    set_vfs(dpu, 1, 2)
    physical = Physical(dpu, 1)
    offset, stride = physical.read("first_vf_offset"), physical.read("vf_stride")
    bus, _, rest = listed(dpu, "static PF")[1]["pci_bdf"].partition(":")
    device, _, number = rest.partition(".")
    raw = (int(bus, 16) << 8 | int(device, 16) << 3 | int(number)) + offset + stride
    assert listed(dpu)[1]["pci_bdf"] == f"{raw >> 8:02x}:{raw >> 3 & 31:02x}.{raw & 7}"
    physical.close()
    until(lambda: not listed(dpu), "the PF's host has gone, and its VFs with it")


def test_query_modify_and_stats_name_a_vf_by_its_pf(dpu: Dpu) -> None:
    set_vfs(dpu, 0, 2)
    assert '"transitional": 0,' in dpu.virtnet("query", "-p", 0, "-v", 1).output
    assert dpu.virtnet("query", "-p", 0, "-v", 1).json["devices"][0]["vf_id"] == 1
    dpu.virtnet("modify", "-p", 0, "-v", 1, "device", "-t", 1400)
    assert [device["mtu"] for device in listed(dpu)] == ["1500", "1400"]
    assert dpu.virtnet("stats", "-p", 0, "-v", 1).json["device"]["vf_id"] == 1


def test_a_vf_that_is_not_there_is_named_with_those_that_are(dpu: Dpu) -> None:
    said = dpu.virtnet("query", "-p", 0, "-v", 0, check=False)
    assert (said.status, "no vf of pf 0" in said.output) == (1, True)
    set_vfs(dpu, 0, 2)
    assert "vf 0 to 1 of pf 0" in dpu.virtnet("query", "-p", 0, "-v", 2, check=False).output


def test_a_vf_has_no_pin_and_no_intx(dpu: Dpu) -> None:
    """PCIe 5.0 §9.5.2, as VFIO shows it."""
    set_vfs(dpu, 0, 1)
    with Client(function(dpu, "VF", 0).socket) as vmm:
        vmm.negotiate()
        assert vmm.read(CONFIG_REGION, pci.HEADER.offset("interrupt_pin"), 1) == b"\0"
        assert (vmm.irq_info(Irq.INTX)["count"], vmm.irq_info(Irq.MSIX)["count"]) == (0, 10)


def test_a_vf_is_not_unplugged(dpu: Dpu) -> None:
    set_vfs(dpu, 0, 1)
    said = dpu.virtnet("unplug", "-u", listed(dpu)[0]["vuid"], check=False)
    assert (said.status, "VFs by sriov_numvfs" in said.output) == (1, True)


@pytest.mark.parametrize(
    ("number", "errno", "said"), [(VFS + 1, 34, "0 to 126 VFs"), (1 << 20, 34, "0 to 126 VFs"), (-1, 22, "num_vfs")]
)
def test_numbers_out_of_range_are_refused(dpu: Dpu, number: int, errno: int, said: str) -> None:
    with pytest.raises(OperatorError, match=said) as refused:
        set_vfs(dpu, 0, number)
    assert refused.value.errno == errno


def test_the_number_changes_by_way_of_none(dpu: Dpu) -> None:
    """As Linux has it: EBUSY; the same number again is no change."""
    set_vfs(dpu, 0, 2)
    before = who(dpu)
    set_vfs(dpu, 0, 2)
    with pytest.raises(OperatorError, match="has 2 VFs: make it 0 before it becomes 3") as refused:
        set_vfs(dpu, 0, 3)
    assert (refused.value.errno, who(dpu)) == (16, before)


def test_a_hotplug_pf_has_no_vfs(dpu: Dpu) -> None:
    device = dpu.hotplug()
    with pytest.raises(OperatorError, match="only a static PF") as refused:
        set_vfs(dpu, device.pf, 1)
    dpu.unplug(device)
    assert refused.value.errno == 2


# ---- by the PF's own registers


def test_vfs_come_and_go_with_vf_enable(dpu: Dpu) -> None:
    physical = Physical(dpu)
    physical.enable(4)
    until(lambda: len(listed(dpu)) == 4, "VF Enable is set")
    physical.disable()
    until(lambda: not listed(dpu), "VF Enable is clear")
    physical.close()


@pytest.mark.parametrize("how", [Physical.function_level_reset, lambda pf: pf.vmm.reset(), Physical.close])
def test_a_reset_of_the_pf_takes_all_its_vfs_away(dpu: Dpu, how: Callable[[Physical], None]) -> None:
    """A hundred of them in use; those of the other PF stay."""
    set_vfs(dpu, 1, 1)
    physical, number = Physical(dpu), 100 if how is Physical.function_level_reset else 5
    physical.enable(number)
    until(lambda: len(listed(dpu)) == 1 + number, "VF Enable is set")
    paths = [device["export_socket"] for device in listed(dpu) if device["pf_id"] == 0]
    vmms = [Client(path) for path in paths]
    for vmm in vmms:
        vmm.negotiate()
    how(physical)
    until(lambda: len(listed(dpu)) == 1, "the PF was reset")
    for vmm in vmms:
        with pytest.raises((ConnectionError, EOFError)):
            vmm.read(7, 0, 4)
        vmm.close()
    physical.close()


def test_a_reset_of_a_vf_is_its_own(dpu: Dpu) -> None:
    set_vfs(dpu, 0, 2)
    with SmallGuest(function(dpu, "VF", 0)) as reset, SmallGuest(function(dpu, "VF", 1)) as other:
        flr(reset.vmm)
        assert [dpu.query(guest.device)["status"]["value"] for guest in (reset, other)] == ["0x0", "0xf"]
        other.net.send(frame(reset.device.mac, other.net.mac, b"still here"))
    assert len(listed(dpu)) == 2


# ---- in use


def test_a_vf_moves_frames_and_so_does_its_representor(dpu: Dpu) -> None:
    set_vfs(dpu, 0, 2)
    one, two = function(dpu, "VF", 0), function(dpu, "VF", 1)
    with SmallGuest(one) as sender, SmallGuest(two) as receiver, dpu.representor(one) as outside:
        with dpu.representor(two) as beyond:
            receiver.net.send(frame(OUTSIDE, two.mac, b"here I am"))
            assert b"here I am" in beyond.receive()
        sender.net.send(frame(two.mac, one.mac, b"member to member"))
        assert b"member to member" in receiver.net.receive()
        sender.net.send(frame(OUTSIDE, one.mac, b"outside"))
        assert b"outside" in outside.receive()


def test_vfs_are_destroyed_under_their_drivers(dpu: Dpu) -> None:
    """The neighbour on the other PF does not notice."""
    set_vfs(dpu, 0, 8)
    set_vfs(dpu, 1, 1)
    guests = [SmallGuest(function(dpu, "VF", number)) for number in range(8)]
    with SmallGuest(function(dpu, "VF", 8)) as neighbour, dpu.representor(neighbour.device) as outside:
        for guest in guests:
            guest.net.send(frame(OUTSIDE, guest.net.mac, b"busy"))
        set_vfs(dpu, 0, 0)
        neighbour.net.send(frame(OUTSIDE, neighbour.net.mac, b"undisturbed"))
        assert b"undisturbed" in outside.receive()
    for guest in guests:
        with pytest.raises((ConnectionError, EOFError)):
            guest.vmm.read(7, 0, 4)
        guest.crash()


def test_a_legacy_driver_reaches_a_vf_by_its_pf() -> None:
    """Virtio 1.3 §2.12.1.2, with lm_prov; VF 0 is member 1. The state is the VF's, over a restart too."""
    with Dpu(SETTINGS, lm_prov="kernel") as dpu:
        pf = function(dpu, "static PF", 0)
        with SmallGuest(pf, ModernDriver, wanted=ALL_FEATURES | ADMIN_VQ) as guest:
            assert isinstance(guest.net, ModernDriver)
            set_vfs(dpu, 0, 2)
            queue = AdminQueue(guest.net)
            queue.list_use(GroupType.SRIOV, admin.LEGACY)
            queue.legacy_write(2, 0x12, b"\x03")
            dpu.restart_controller()
            assert queue.legacy_read(2, 0x12, 1) == b"\x03"
            assert [vf["driver_mode"] for vf in listed(dpu)] == ["none", "legacy"]
            assert [vf["transitional"] for vf in listed(dpu)] == [1, 1]
            assert queue.legacy_read(1, 0, 6, configuration=True) == function(dpu, "VF", 0).mac
            reply = queue.send(Opcode.LEGACY_COMMON_CFG_READ, admin.LEGACY_READ.pack(0x12), 1, member=3)
            assert (reply.status, reply.qualifier) == (Status.EINVAL, Qualifier.INVALID_MEMBER)
            set_vfs(dpu, 0, 0)
            reply = queue.send(Opcode.LEGACY_COMMON_CFG_READ, admin.LEGACY_READ.pack(0x12), 1, member=1)
            assert reply.status == Status.EINVAL
        assert dpu.own_mistakes() == []


# ---- the pool


def test_vectors_and_queue_pairs_move_from_vf_to_vf(dpu: Dpu) -> None:
    set_vfs(dpu, 0, 2)
    dpu.virtnet("modify", "-p", 0, "-v", 0, "device", "-n", 4)
    pf = listed(dpu, "static PF")[0]
    assert (pf["msix_num_pool_size"], pf["qp_pool_size"]) == (6, 3)
    dpu.virtnet("modify", "-p", 0, "-v", 1, "device", "-n", 16)
    assert [(d["num_msix"], d["num_queues"], d["max_queue_pairs"]) for d in listed(dpu)] == [
        ("4", "3", "1"),
        ("16", "15", "7"),
    ]
    assert listed(dpu, "static PF")[0]["msix_num_pool_size"] == 0
    with SmallGuest(function(dpu, "VF", 1)) as guest, dpu.representor(guest.device) as outside:
        assert guest.vmm.irq_info(2)["count"] == 16
        guest.net.send(frame(OUTSIDE, guest.net.mac, b"sixteen"))
        assert b"sixteen" in outside.receive()


def test_features_and_queue_size_change_while_nobody_has_the_vf(dpu: Dpu) -> None:
    set_vfs(dpu, 0, 1)
    dpu.virtnet("modify", "-p", 0, "-v", 0, "device", "-f", "0x200000000", "-q", 1024)
    shown = dpu.virtnet("query", "-p", 0, "-v", 0).json["devices"][0]
    assert (shown["max_queue_size"], shown["device_features"]["33"]) == ("1024", "VIRTIO_F_ACCESS_PLATFORM")
    said = dpu.virtnet("modify", "-p", 0, "-v", 0, "device", "-f", "0x400", check=False).json
    assert (said["errno"], "does not implement" in said["errstr"]) == (95, True)
    assert listed(dpu)[0]["max_queue_size"] == "1024"
    with SmallGuest(function(dpu, "VF", 0)):
        assert dpu.virtnet("modify", "-p", 0, "-v", 0, "device", "-q", 64, check=False).json["errno"] == 16


def test_a_static_pf_changes_shape_while_nobody_has_it_and_it_has_no_vfs(dpu: Dpu) -> None:
    before = [(pf["max_queue_size"], pf["pci_max_vfs"]) for pf in listed(dpu, "static PF")]
    set_vfs(dpu, 0, 1)
    said = dpu.virtnet("modify", "-p", 0, "device", "-q", 1024, check=False).json
    assert (said["errno"], "while it has 1 VFs" in said["errstr"]) == (16, True)
    set_vfs(dpu, 0, 0)
    dpu.virtnet("modify", "-p", 0, "device", "-q", 1024, "-f", "0x200000000")
    assert [pf["max_queue_size"] for pf in listed(dpu, "static PF")] == ["1024", before[1][0]]
    set_vfs(dpu, 0, 1)
    set_vfs(dpu, 0, 0)
    dpu.virtnet("modify", "-p", 0, "device", "-q", before[0][0], "-f", "0x0")
    assert [(pf["max_queue_size"], pf["pci_max_vfs"]) for pf in listed(dpu, "static PF")] == before


def test_more_than_the_pool_has_is_refused(dpu: Dpu) -> None:
    set_vfs(dpu, 0, 2)
    before = who(dpu)
    said = dpu.virtnet("modify", "-p", 0, "-v", 0, "device", "-n", 11, check=False)
    assert (said.json["errno"], "pool of its PF has 0 left" in said.json["errstr"]) == (28, True)
    assert who(dpu) == before


def test_a_vf_in_use_keeps_its_vectors(dpu: Dpu) -> None:
    set_vfs(dpu, 0, 1)
    with SmallGuest(function(dpu, "VF", 0)):
        said = dpu.virtnet("modify", "-p", 0, "-v", 0, "device", "-n", 4, check=False)
        assert said.json["errno"] == 16
    assert listed(dpu)[0]["num_msix"] == "10"


def test_a_pf_keeps_its_vectors(dpu: Dpu) -> None:
    assert dpu.virtnet("modify", "-p", 0, "device", "-n", 4, check=False).json["errno"] == 1


# ---- what survives what


@pytest.fixture
def changed() -> Iterator[Dpu]:
    """A DPU of its own with three VFs, of which one was changed in all that can be."""
    with prepared() as dpu:
        set_vfs(dpu, 0, 3)
        dpu.virtnet("modify", "-p", 0, "-v", 1, "device", "-t", 1400, "-n", 4, "-q", 64, "-m", "0c:c4:7a:99:99:99")
        yield dpu
        assert dpu.own_mistakes() == []


def test_a_controller_that_is_killed_finds_its_vfs(changed: Dpu) -> None:
    before = who(changed)
    with SmallGuest(function(changed, "VF", 2)) as guest, changed.representor(guest.device) as outside:
        changed.restart_controller()
        guest.net.send(frame(OUTSIDE, guest.net.mac, b"on and on"))
        assert b"on and on" in outside.receive()
    assert who(changed) == before
    set_vfs(changed, 0, 0)
    assert listed(changed) == []


def test_a_datapath_that_is_killed_comes_back_with_vfs(changed: Dpu) -> None:
    before, former = who(changed), changed.datapath_pid
    changed.kill_datapath()
    changed.wait_for_another_datapath(former)
    until(lambda: who(changed) == before, "all are given to the new datapath")
    assert listed(changed, "static PF")[0]["enabled_vfs"] == "3"


def test_both_killed_come_back_with_vfs(changed: Dpu) -> None:
    before = who(changed)
    changed.kill_controller()
    changed.kill_datapath()
    changed.start_controller()
    assert who(changed) == before


def test_a_reboot_of_the_machine_leaves_no_vf(changed: Dpu) -> None:
    recovery = changed.root / "opt/mellanox/mlnx_virtnet/recovery"
    changed.kill_controller()
    changed.kill_datapath()
    for file in recovery.glob("*VF*"):
        file.write_text(file.read_text().replace('"boot":"', '"boot":"another-'))
    changed.start_controller()
    assert (listed(changed), list(recovery.glob("*VF*"))) == ([], [])
    set_vfs(changed, 0, 1)


def test_vfs_that_a_controller_did_not_come_to_are_made_by_the_next(changed: Dpu) -> None:
    changed.kill_controller()
    physical = None
    try:
        changed.start_controller()
        physical = Physical(changed, 1)
        physical.enable(20)
        changed.restart_controller()
        until(lambda: len(listed(changed)) == 23, "VF Enable was set")
    finally:
        if physical is not None:
            physical.close()


def test_a_power_cycle_leaves_no_vf(changed: Dpu) -> None:
    changed._api().post("/v1/power-cycle", {"force": True})
    until(lambda: changed.log.read_text().count("serving the root") == 2, "the controller comes anew")
    assert (listed(changed), len(listed(changed, "static PF"))) == ([], PFS)
