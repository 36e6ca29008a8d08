"""The steps of the workflow, in the order of the manual; each claims what it shows."""

from __future__ import annotations

import re
import subprocess
import time

from softdpu.lab import Guest
from tools.demo.pair import Pair
from tools.demo.stage import Stage

HOTPLUG = "virtnet hotplug -i mlx5_0 -f 0x0 -m 0C:C4:7A:FF:22:93 -t 1500 -n 3 -s 1024 -l"
IDS = (
    "for d in /sys/bus/pci/devices/*; do [ $(cat $d/vendor) = 0x1af4 ] && echo ${d##*/} $(cat $d/class): "
    "$(cut -c3- $d/vendor):$(cut -c3- $d/device) rev $(cut -c3- $d/revision) "
    "subsystem $(cut -c3- $d/subsystem_vendor):$(cut -c3- $d/subsystem_device); done"
)
MODE = "cat /sys/bus/virtio/devices/*/features"
VERSION_1 = 32  # bit of a modern driver's features
TRANSFER_PORT = 5001
FIRST = Pair("en3f0pf0sf2000", "10.7.1")
SECOND = Pair("en3f0pf0sf2001", "10.7.2")


def firmware(stage: Stage) -> None:
    """Steps 1 and 3: settings, and the cold reboot that makes them current."""
    stage.chapter("Firmware settings and a cold reboot")
    stage.shell(
        "mlxconfig -d 03:00.0 -y s VIRTIO_NET_EMULATION_ENABLE=1 VIRTIO_NET_EMULATION_NUM_MSIX=8 "
        "PCI_SWITCH_EMULATION_ENABLE=1 PCI_SWITCH_EMULATION_NUM_PORT=16 PER_PF_NUM_SF=1 PF_TOTAL_SF=64"
    )
    stage.shell("mlxconfig -d 03:00.0 -y s VIRTIO_NET_EMULATION_PF_PCI_LAYOUT=1 VIRTIO_EMULATION_HOTPLUG_TRANS=1")
    stage.shell("softdpu power-cycle")
    query = stage.shell("mlxconfig -d 03:00.0 -e q VIRTIO_EMULATION_HOTPLUG_TRANS").stdout
    line = next((line for line in query.splitlines() if "HOTPLUG_TRANS" in line), "")
    values = re.findall(r"\((\d)\)", line)
    stage.claim(
        "firmware", "Next Boot became Current with the power cycle", " ".join(line.split()), values == ["0", "1", "1"]
    )


def hotplug(stage: Stage, guest: Guest) -> None:
    """Step 5: the hotplug line of the manual. How the function is exported is left to the controller."""
    stage.chapter("Hot plug into a running guest, kernel 6.12 with virtio_pci.force_legacy=1 intel_iommu=off")
    show(stage, guest, "uname -r; cat /proc/cmdline")
    stage.reply(f"softdpu host attach {guest.qmp_path} --name first")
    began = time.monotonic()
    reply = stage.reply(HOTPLUG)
    stage.claim("hotplug -l", '"transitional": 1, errno 0', _brief(reply), reply.get("transitional") == 1)
    guest.wait_for("ip link show eth0", 30)
    stage.claim("hotplug -l", "eth0 in the guest", f"after {time.monotonic() - began:.2f} s", holds=True)
    listing = stage.shell("virtnet query -p 0 | grep transitional").stdout.strip()
    stage.claim("virtnet query", '"transitional": 1,', listing, listing == '"transitional": 1,')
    _claim_export(stage, 0, "auto: QEMU's own function, our rings behind it", "vhost-user")


def _claim_export(stage: Stage, device: int, claimed: str, export: str) -> None:
    """Which of the two the device is, and why."""
    shown = stage.shell(f"virtnet query -p {device} -b | grep -E '\"export(_reason)?\"'").stdout
    stage.claim(f"export, pf {device}", claimed, export, f'"export": "{export}"' in shown)


def legacy_guest(stage: Stage, guest: Guest) -> None:
    """Step 6: the device in the guest is driven through its I/O ports."""
    stage.chapter("The guest sees a legacy device")
    claim_ids(stage, guest)
    claim_legacy(stage, guest)


def claim_ids(stage: Stage, guest: Guest) -> None:
    """A transitional function's ids, as the guest shows them."""
    show(stage, guest, "lspci -nk -d 1af4:")
    ids = show(stage, guest, IDS)
    claimed = "1af4:1000 rev 00 subsystem 1af4:0001"
    stage.claim(
        "lspci -n", claimed, ids.strip(), ("1af4:1000 rev 0x00" in ids and "1af4:0x0001" in ids) or claimed in ids
    )


def claim_legacy(stage: Stage, guest: Guest) -> None:
    """The driver uses the I/O ports, and not VERSION_1."""
    ports = show(stage, guest, "grep virtio /proc/ioports").strip()
    stage.claim("/proc/ioports", "virtio-pci-legacy", " ".join(ports.split()), "virtio-pci-legacy" in ports)
    bits = guest.run(MODE).output.strip()
    stage.claim("driver", "legacy: VERSION_1 not negotiated", f"bit 32 is {bits[VERSION_1]}", bits[VERSION_1] == "0")


def traffic(stage: Stage, guest: Guest, pair: Pair) -> None:
    """Ping and 16 MB of TCP each way between guest and representor."""
    stage.chapter(f"Traffic between {guest.release} and {pair.tap}")
    stage.in_netns(f"ip address add {pair.dpu}/24 dev {pair.tap}")
    show(
        stage,
        guest,
        f"ip address add {pair.guest}/24 dev eth0; ip link set eth0 up; ip address show eth0",
    )
    ping = stage.in_netns(f"ping -c 20 -i 0.05 -W 5 {pair.guest}").stdout
    stage.claim("ping", "20 of 20 answered", loss(ping), " 0% packet loss" in ping)
    _transfer(
        stage,
        guest,
        pair,
        "receive",
        "head -c 16777216 /dev/urandom >/tmp/blob; sha256sum </tmp/blob; "
        f"nc {pair.dpu} {TRANSFER_PORT} </tmp/blob; rm /tmp/blob",
    )
    _transfer(stage, guest, pair, "send", f"nc {pair.dpu} {TRANSFER_PORT} </dev/null | sha256sum")


def _transfer(stage: Stage, guest: Guest, pair: Pair, verb: str, command: str) -> None:
    """The DPU sends or receives; the guest does the other and says its checksum."""
    server = subprocess.Popen(
        [
            "ip",
            "netns",
            "exec",
            stage.netns,
            "python3",
            "-m",
            "tools.demo.transfer",
            verb,
            pair.dpu,
            str(TRANSFER_PORT),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=stage.environment,
    )
    try:
        time.sleep(0.5)
        there = show(stage, guest, command, 120).split()
        here = (server.communicate(timeout=60)[0] or "").strip()
    finally:
        server.kill()
        server.wait()
    direction = "guest → representor" if verb == "receive" else "representor → guest"
    stage.claim(
        "16 MB over TCP",
        f"{direction}: the same SHA-256",
        f"{here[:16]}… both" if here in there else f"{here} {there}",
        bool(here) and here in there,
    )


def older_guest(stage: Stage, guest: Guest) -> None:
    """Step 4: virtio_pci as a module is loaded with force_legacy=1; then the modern driver on the same device."""
    stage.chapter("Kernel 6.1: modprobe virtio_pci force_legacy=1, then the modern driver on the very same device")
    stage.reply(f"softdpu host attach {guest.qmp_path} --name second")
    stage.reply(f"{HOTPLUG.replace('93', '94')} --host second --export vfio-user")
    _claim_export(stage, 1, "forced: the whole PCI function is ours", "vfio-user")
    show(stage, guest, "virtio load force_legacy=1; cat /sys/module/virtio_pci/parameters/force_legacy")
    guest.wait_for("ip link show eth0", 30)
    claim_legacy(stage, guest)
    traffic(stage, guest, SECOND)
    show(stage, guest, "virtio reload; cat /sys/module/virtio_pci/parameters/force_legacy")
    guest.wait_for("ip link show eth0", 30)
    bits = guest.run(MODE).output.strip()
    stage.claim(
        "modern driver",
        "VERSION_1 negotiated on the same device",
        f"bit 32 is {bits[VERSION_1]}",
        bits[VERSION_1] == "1",
    )
    guest.run(f"ip address add {SECOND.guest}/24 dev eth0; ip link set eth0 up")
    ping = stage.in_netns(f"ping -c 20 -i 0.05 -W 5 {SECOND.guest}").stdout
    stage.claim("modern driver", "20 of 20 pings answered", loss(ping), " 0% packet loss" in ping)


def guest_to_guest(stage: Stage, first: Guest, second: Guest) -> None:
    """Two guests, legacy and modern, vhost-user and vfio-user, through the built-in switch."""
    stage.chapter("Guest to guest through the switch: a legacy driver over vhost-user, a modern one over vfio-user")
    first.run("ip address add 10.7.9.11/24 dev eth0")
    second.run("ip address add 10.7.9.12/24 dev eth0")
    ping = show(stage, first, "ping -c 10 10.7.9.12")
    stage.claim("guest to guest", "10 of 10 pings answered", loss(ping), " 0% packet loss" in ping)


def crash(stage: Stage, guest: Guest) -> None:
    """The controller is killed in a ping flood and started again."""
    stage.chapter("The controller is killed (SIGKILL) during a ping flood, and started again")
    carrier = guest.run("cat /sys/class/net/eth0/carrier_changes").output.strip()
    flood = subprocess.Popen(
        ["ip", "netns", "exec", stage.netns, "ping", "-q", "-i", "0.002", "-c", "2500", "-W", "5", FIRST.guest],
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(1)
    stage.kill_controller()
    print(f"dpu$ kill -9 {stage.controller.pid if stage.controller else ''}")
    time.sleep(1)
    began = time.monotonic()
    stage.start_controller()
    stage.show("dpu", "virtio-net-controller &", f"answers after {time.monotonic() - began:.2f} s")
    output = flood.communicate(timeout=90)[0]
    stage.show("dpu", f"ping -i 0.002 -c 2500 {FIRST.guest}", output)
    stage.claim("controller killed", "no ping of the flood lost", loss(output), " 0% packet loss" in output)
    after = guest.run("cat /sys/class/net/eth0/carrier_changes").output.strip()
    stage.claim("controller killed", "link never down", f"carrier changes {carrier} → {after}", carrier == after)
    known = stage.shell("virtnet list | grep -c vuid").stdout.strip()
    stage.claim("controller restarted", "both devices are there again", f"{known} devices", known == "2")


def replace_datapath(stage: Stage, guest: Guest) -> None:
    """The process that moves the frames is killed: the controller starts another, and QEMU finds it by itself."""
    stage.chapter("The datapath is killed (SIGKILL) during a ping; the vhost-user guest goes on by itself")
    pid = stage.datapath_pid()
    ping = guest.begin(f"ping -i 0.05 -W 1 {FIRST.dpu}")
    stage.shell(f"kill -9 {pid}")
    began = time.monotonic()
    resumed = guest.wait_for(f"ping -c 1 -W 1 {FIRST.dpu}", 60).status == 0
    stage.claim("datapath killed", "the guest's pings are answered again", f"{time.monotonic() - began:.1f} s", resumed)
    ping.kill()


def unplug(stage: Stage, guest: Guest) -> None:
    """A vhost-user device leaves its guest under traffic."""
    stage.chapter("Unplug under traffic")
    flood = guest.begin(f"ping -i 0.01 {FIRST.dpu}")
    done = stage.shell("virtnet unplug -p 0")
    flood.kill()
    stage.claim("unplug, vhost-user", "errno 0", f"exit {done.returncode}", done.returncode == 0)
    gone = guest.run("ip link show eth0").status != 0
    stage.claim("unplug, vhost-user", "eth0 is gone from the guest", "gone" if gone else "still there", gone)
    there = stage.in_netns(f"ip link show {FIRST.tap}").returncode == 0
    stage.claim("unplug, vhost-user", "its representor is gone", "still there" if there else "gone", not there)


def refuse_unplug(stage: Stage) -> None:
    """This QEMU aborts when a vfio-user device with MSI-X leaves it: that is refused."""
    stage.chapter("Unplug of what was forced to vfio-user")
    refused = stage.shell("virtnet unplug -p 1")
    stage.claim(
        "unplug, vfio-user",
        "refused with the reason; the guest lives on",
        f"exit {refused.returncode}",
        refused.returncode == 1,
    )
    stage.shell("virtnet list | grep -E 'vuid|transitional|sf_rep_net_device|\"export\"|faults'")


def show(stage: Stage, guest: Guest, command: str, timeout: float = 60) -> str:
    """A command in the guest and its answer."""
    result = guest.run(command, timeout=timeout)
    stage.show(f"guest {guest.release.split('-')[0]}", command, result.output)
    return result.output


def loss(ping: str) -> str:
    """What ping says of losses."""
    line = next((line for line in ping.splitlines() if "packet loss" in line), "no answer")
    return line.split(", time")[0].replace("packets ", "")


def _brief(reply: dict[str, object]) -> str:
    return ", ".join(f"{key} {reply.get(key)}" for key in ("transitional", "errno"))
