"""``make bench``: a stock guest's network through our function and through QEMU's own virtio-net on a tap.

Both devices are transitional, in the same guest, each on a tap in the same namespace; runs are interleaved. Prints a
table of ratios and writes build/bench.json.
"""

import sys
from pathlib import Path

import msgspec

from softdpu.lab import Guest
from tools.bench.guest import comparisons, plug_both
from tools.bench.pairs import HEADING, Comparison
from tools.demo.stage import Stage
from tools.demo.steps import firmware


def main() -> int:
    """Legacy and modern driver, in turn."""
    results: list[Comparison] = []
    with Stage() as stage:
        firmware(stage)
        stage.start_controller()
        for legacy in (True, False):
            results += _in_guest(stage, legacy)
    print(f"\n{HEADING}")
    for result in results:
        print(result.row())
    Path("build").mkdir(exist_ok=True)
    Path("build/bench.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    return 0


def _in_guest(stage: Stage, legacy: bool) -> list[Comparison]:
    driver = "legacy" if legacy else "modern"
    tap, net = f"peer-{driver}", "10.8" if legacy else "10.9"
    stage.in_netns(f"ip tuntap add {tap} mode tap vnet_hdr", quiet=True)
    netdev = {"type": "tap", "id": "n0", "ifname": tap, "script": "no", "downscript": "no"}
    device = {"driver": "virtio-net-pci-transitional", "netdev": "n0", "bus": "rp2", "mac": "52:54:00:00:00:01"}
    with Guest(
        legacy=legacy,
        root_ports=2,
        netdevs=[netdev],
        devices=[device],
        wrapper=["ip", "netns", "exec", stage.netns],
    ) as guest:
        peer, ours = plug_both(stage, guest, tap, net)
        return comparisons(stage, guest, peer, ours, f"{guest.release.split('-')[0]}, {driver} driver")


if __name__ == "__main__":
    sys.exit(main())
