"""Packed rings of QEMU's own function: no index of theirs is in shared memory, nor does QEMU know where they stand."""

import pytest

from softdpu.spec import features as f
from tests.guests.bench import Bench
from tests.guests.conftest import Boot
from tests.guests.traffic import traffic

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]


@pytest.mark.parametrize("qemu", ["7.2", "11.1"])
def test_packed_rings_go_on_where_a_killed_datapath_left_them(bench: Bench, boot: Boot, qemu: str) -> None:
    guest = boot("6.12", qemu=qemu, root_ports=1)
    device = bench.hotplug(guest, export="vhost-user", features=f.mask_of(f.RING_PACKED))
    bench.ping_both_ways(nic := bench.configure(guest, device))
    assert bench.dpu.query(device)["driver_features"]["34"] == "VIRTIO_F_RING_PACKED"
    for _ in range(3):
        with traffic(bench, nic):
            former = bench.dpu.datapath_pid
            bench.dpu.kill_datapath()
            bench.dpu.wait_for_another_datapath(former)
            guest.wait_for(f"ping -c 1 -W 1 {nic.gateway}")
        bench.ping_both_ways(nic)
    guest.run("virtio reload", check=True)  # a driver that begins anew is begun with
    bench.ping_both_ways(bench.configure(guest, device))
    bench.dpu.unplug(device)
    assert bench.dpu.own_mistakes() == []
