"""A stock guest: TCP both ways with iperf3, and ping, through our functions and through QEMU's own virtio-net.

All three devices are transitional, in the same guest, each on a tap in the same namespace: ours over vfio-user, ours
over vhost-user, and QEMU's.
"""

import json
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from io import StringIO
from typing import cast

from softdpu.lab import Guest
from tools.bench.pairs import Comparison, Run, in_turn
from tools.bench.realtime import favoured
from tools.bench.rows import GUEST, PING, Row
from tools.demo.pair import Pair
from tools.demo.stage import Stage
from tools.demo.steps import HOTPLUG, firmware

SECONDS, TCP_PAIRS = 2, 9  # of each iperf3 run, and how many: an emulated processor is now fast, now half as fast
PINGS, PING_PAIRS = 60, 25  # many short turns: where the kernel puts threads for a while makes a third of a ping
EXPORTS = ("vfio-user", "vhost-user")
NETS = {"legacy": "10.8", "modern": "10.9"}
PEER_MAC = "52:54:00:00:00:01"


def rows() -> Iterator[Comparison]:
    """Legacy and modern driver, in turn."""
    for stage, guest, pairs, driver in guests():
        with favoured(guest.pid, stage.datapath_pid()):
            yield from _compared(stage, guest, pairs, f"{guest.release.split('-')[0]}, {driver}")


def guests(drivers: Sequence[str] = tuple(NETS)) -> Iterator[tuple[Stage, Guest, dict[str, Pair], str]]:
    """For each driver a guest with QEMU's own device ("peer") and ours, by export."""
    with Stage() as stage:
        with redirect_stdout(StringIO()):
            firmware(stage)
        stage.start_controller()
        for driver in drivers:
            with _boot(stage, driver) as guest:
                yield stage, guest, plug(stage, guest, f"peer-{driver}", NETS[driver]), driver


def _boot(stage: Stage, driver: str) -> Guest:
    tap = f"peer-{driver}"
    stage.in_netns(f"ip tuntap add {tap} mode tap vnet_hdr", quiet=True)
    netdev = {"type": "tap", "id": "n0", "ifname": tap, "script": "no", "downscript": "no"}
    device = {"driver": "virtio-net-pci-transitional", "netdev": "n0", "bus": "rp1", "mac": PEER_MAC}
    return Guest(
        legacy=driver == "legacy",
        root_ports=1 + len(EXPORTS),
        netdevs=[netdev],
        devices=[device],
        wrapper=["ip", "netns", "exec", stage.netns],
    )


def plug(stage: Stage, guest: Guest, peer_tap: str, net: str) -> dict[str, Pair]:
    """QEMU's device is there since boot (eth0); ours are hot-plugged beside it. Each has a subnet of ``net``."""
    pairs = {"peer": Pair(peer_tap, f"{net}.0")}
    _join(stage, guest, pairs["peer"], "eth0")
    with redirect_stdout(StringIO()):
        stage.reply(f"softdpu host attach {guest.qmp_path} --name {net}")
        for number, export in enumerate(EXPORTS, start=1):
            line = re.sub(r"-m \S+", f"-m 52:54:00:00:0{net[-1]}:0{number}", HOTPLUG)
            reply = stage.reply(f"{line} --host {net} --export {export}")
            if reply.get("errno"):
                raise RuntimeError(f"{export}: {reply}")
            pairs[export] = Pair(str(reply["sf_rep_net_device"]), f"{net}.{number}")
            guest.wait_for(f"ip link show eth{number}", 30)
            _join(stage, guest, pairs[export], f"eth{number}")
    return pairs


def _join(stage: Stage, guest: Guest, pair: Pair, name: str) -> None:
    stage.in_netns(f"ip address add {pair.dpu}/24 dev {pair.tap}", quiet=True)
    stage.in_netns(f"ip link set {pair.tap} up", quiet=True)
    guest.run(f"ip address add {pair.guest}/24 dev {name}; ip link set {name} up", check=True)


def _compared(stage: Stage, guest: Guest, pairs: dict[str, Pair], title: str) -> Iterator[Comparison]:
    def each(row: Row, what: str, measure: Callable[[Pair], float], count: int) -> Iterator[Comparison]:
        runs = {name: cast(Run, partial(measure, pair)) for name, pair in pairs.items()}
        values = in_turn(runs, count)
        for export in EXPORTS:
            yield row.comparison(f"{title}, {export}{what}", values["peer"], values[export])

    yield from each(GUEST, ", out", partial(tcp, stage, guest, way=""), TCP_PAIRS)
    yield from each(GUEST, ", in", partial(tcp, stage, guest, way="-R"), TCP_PAIRS)
    yield from each(PING, "", partial(rtt, stage), PING_PAIRS)


def tcp(stage: Stage, guest: Guest, pair: Pair, way: str) -> float:
    """Mbit/s that the receiver got in one iperf3 run from (or with -R to) the guest."""
    with served(stage, pair):
        done = guest.run(f"iperf3 -c {pair.dpu} -t {SECONDS} {way} -J", timeout=60, check=True)
        return float(json.loads(done.output)["end"]["sum_received"]["bits_per_second"]) / 1e6


@contextmanager
def served(stage: Stage, pair: Pair) -> Iterator[None]:
    """An iperf3 server for one run, at the tap's address."""
    server = subprocess.Popen(
        ["ip", "netns", "exec", stage.netns, "iperf3", "-s", "-1", "-B", pair.dpu],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(0.3)
        yield
    finally:
        server.kill()
        server.wait()


def rtt(stage: Stage, pair: Pair) -> float:
    """Median round trip in ms, from the tap's end."""
    output = stage.in_netns(f"ping -c {PINGS} -i 0.005 {pair.guest}", quiet=True).stdout
    times = [float(time) for time in re.findall(r"time=([\d.]+) ms", output)]
    if len(times) < PINGS // 2:
        raise RuntimeError(f"{len(times)} of {PINGS} pings were answered on {pair.tap}: {output}")
    return statistics.median(times)
