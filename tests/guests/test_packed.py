"""Stock kernels on packed rings: what they take up, and that their bytes arrive."""

import pytest

from softdpu.lab import Guest
from softdpu.spec import features as f
from tests.guests.bench import Bench, ping
from tests.guests.conftest import Boot

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]

SIZE = 4 << 20
PACKED = f.mask_of(f.RING_PACKED)


def accepted(bench: Bench, device: str) -> dict[str, str]:
    """The features that the driver has taken, as the operator sees them."""
    reply = bench.dpu.virtnet("query", "-u", device, "-b")
    features: dict[str, str] = reply.json["devices"][0]["driver_features"]
    return features


def test_modern_drivers_use_packed_rings_where_they_are_offered(bench: Bench, boot: Boot) -> None:
    guests: list[Guest] = []
    for host, kernel in enumerate(("6.12", "7.3"), start=2):
        guests.append(boot(kernel, root_ports=1))
        device = bench.hotplug(guests[-1], features=PACKED)
        bench.configure(guests[-1], device, "192.0.2", host)
        taken = accepted(bench, device.vuid)
        assert taken["34"] == "VIRTIO_F_RING_PACKED"
        assert taken["38"] == "VIRTIO_F_NOTIFICATION_DATA"
    one, other = guests
    ping(one, "192.0.2.3", size=1472)
    for sender, receiver, address in ((one, other, "192.0.2.3"), (other, one, "192.0.2.2")):
        receiver.begin("nc -l -p 9000 -e sha256sum")
        receiver.wait_for("netstat -ltn | grep :9000")
        send = f"head -c {SIZE} /dev/urandom >/tmp/sent; nc {address} 9000 </tmp/sent; sha256sum </tmp/sent"
        theirs, ours = sender.run(send, timeout=120, check=True).output.splitlines()
        assert theirs == ours
