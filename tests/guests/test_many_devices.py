"""As many hot-plugged transitional devices as the product has, at once in one stock guest."""

import re

import pytest

from softdpu.lab import Guest
from tests.dpu_under_test import FIRMWARE, Plugged
from tests.guests.bench import Bench
from tests.guests.conftest import Boot

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]

MOST = FIRMWARE["PCI_SWITCH_EMULATION_NUM_PORT"] - 1
# Each device a network of its own, so that a ping passes that device and no other. One line a device that answers.
PING_ALL = r"""
for path in /sys/class/net/*/address; do
    mac=$(cat $path); name=${path%/address}; name=${name##*/}
    case $mac in 0c:c4:7a:ff:00:*) ;; *) continue ;; esac
    number=$((0x${mac##*:}))
    ip addr add 198.18.$number.2/24 dev $name && ip link set $name up
    ping -c 1 -W 20 198.18.$number.1 >/dev/null && echo $name $(readlink /sys/class/net/$name/device/driver)
done
"""


def test_31_transitional_devices_at_once_answer_ping_in_legacy_mode(bench: Bench, boot: Boot) -> None:
    """Two bridges have windows for 32 I/O BARs; the planner finds each next place, and says what is left."""
    guest = boot("6.12", legacy=True, bridges=2, memory=384)
    devices = [bench.hotplug(guest) for _ in range(MOST)]
    for device in devices:
        bench.dpu.ip("addr", "add", f"198.18.{device.mac[-1]}.1/24", "dev", device.representor)
        bench.dpu.ip("link", "set", device.representor, "up")
    assert all_answer(guest, devices)
    modes = {shown["driver_mode"] for shown in bench.dpu.virtnet("query", "-a", "-b").json["devices"]}
    assert modes == {"legacy"}
    assert guest.run("grep -c virtio-pci-legacy /proc/ioports").output.strip() == str(MOST)
    (host,) = bench.dpu.virtnet("health").json["hosts"]
    assert "31 used, 1 free" in host["io_windows"]
    assert re.fullmatch(r"bridge2, slot \d+", host["next_transitional"])
    _, refused = bench.try_hotplug(guest, "-l")
    assert "31 of 31 are used" in refused.json["errstr"]


def all_answer(guest: Guest, devices: list[Plugged]) -> bool:
    """Whether the representor of each device is reached through it."""
    guest.wait_for(f"[ $(grep -il 0c:c4:7a:ff:00 /sys/class/net/*/address | wc -l) = {len(devices)} ]")
    return len(guest.run(PING_ALL, timeout=120).output.splitlines()) == len(devices)
