"""Several queue pairs in a stock guest with a legacy driver.

It negotiates MQ as a modern one does (bit 22 is one of its 32), but never RSS (bit 60): so its flows are steered
automatically, where Linux' modern driver has a table.
"""

import pytest

from tests.guests.bench import Bench
from tests.guests.conftest import Boot
from tests.guests.ends import ethtool
from tests.guests.test_offloads import iperf_server

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]

RECEIVE = (0, 2)  # the queues of the two pairs
SIZE = 8 << 20


def test_a_flow_arrives_on_the_pair_that_it_leaves_by(bench: Bench, boot: Boot) -> None:
    """virtio 1.3 §5.1.6.5.6. Linux sends on the queue of the processor that a program runs on."""
    guest = boot("6.12", legacy=True, root_ports=1, processors=2)
    device = bench.hotplug(guest, queues=5)
    nic = bench.configure(guest, device)
    ethtool(nic, "-L", "combined 2")
    assert bench.dpu.query(device)["driver_mode"] == "legacy"
    for pair in (0, 1, 0):
        before = bench.dpu.counters(device)
        with iperf_server(bench):
            guest.run(f"taskset {1 << pair:x} iperf3 -c {nic.gateway} -n {SIZE} -R", timeout=60, check=True)
        after = bench.dpu.counters(device)
        octets = [after[f"queue{queue}_octets"] - before[f"queue{queue}_octets"] for queue in RECEIVE]
        assert octets[pair] > SIZE > 4 * octets[1 - pair]
