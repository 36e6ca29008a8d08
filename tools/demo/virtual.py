"""Part two: the manual's steps for a transitional VF, as printed, on the simulated host."""

from __future__ import annotations

import re
import shlex

from softdpu.lab import Guest
from tools.demo.pair import Pair
from tools.demo.stage import Stage
from tools.demo.steps import claim_ids, claim_legacy, loss, show

PF = "0000:14:00.2"
VIRTUAL = Pair("en3f0pf0sf3000", "10.7.3")
CONFIGURATION = '{ "lm_prov": "kernel" }'


def settings(stage: Stage) -> None:
    """SR-IOV as usual, and lm_prov; then the power cycle."""
    stage.chapter("VFs: SR-IOV in the firmware, lm_prov in virtnet.conf, and a cold reboot")
    stage.shell(
        "mlxconfig -d 03:00.0 -y s VIRTIO_NET_EMULATION_NUM_PF=1 VIRTIO_NET_EMULATION_NUM_VF=4 SRIOV_EN=1 NUM_OF_VFS=4"
    )
    folder = "$SOFTDPU_ROOT/opt/mellanox/mlnx_virtnet"
    stage.shell(
        f"mkdir -p {folder}; echo '{CONFIGURATION}' > {folder}/virtnet.conf; virtnet validate -f {folder}/virtnet.conf"
    )
    stage.shell("softdpu power-cycle --force", timeout=120)
    stage.wait_until_it_answers()


def virtual_functions(stage: Stage) -> str:
    """Steps 3 and 4: VFs, and the first bound to virtio_vfio_pci; its address."""
    stage.chapter("The host, simulated: two VFs, one of them for a VM")
    host(stage, f"cat /sys/bus/pci/devices/{PF}/sriov_totalvfs; echo 2 > /sys/bus/pci/devices/{PF}/sriov_numvfs")
    seen = host(stage, "lspci -nk -d 1af4:")
    count = seen.count("1af4:1041")
    stage.claim("sriov_numvfs", "two VFs, 1af4:1041", f"{count} of them", count == 2)
    refused = host(stage, f"echo 3 > /sys/bus/pci/devices/{PF}/sriov_numvfs")
    stage.claim("sriov_numvfs", "another number while VFs are on: EBUSY", refused.strip()[-24:], "busy" in refused)
    vf = host(stage, f"basename $(readlink /sys/bus/pci/devices/{PF}/virtfn0)").strip()
    host(stage, f"echo {vf} > /sys/bus/pci/devices/{vf}/driver/unbind")
    host(stage, "modprobe -v virtio_vfio_pci; lsmod | grep vfio")
    host(stage, "echo 0x1af4 0x1041 > /sys/bus/pci/drivers/virtio_vfio_pci/new_id")
    seen = host(stage, f"lspci -s {vf[5:]} -k")
    bound = "Kernel driver in use: virtio_vfio_pci"
    stage.claim("lspci -k", bound, seen.strip().splitlines()[-1].strip(), bound in seen)
    return vf


def machine(stage: Stage, vf: str) -> Guest:
    """Step 5: the VM, by ``qemu-system-x86_64 … -device vfio-pci,host=…`` on the host."""
    commands = stage.root / "run/virtnet/host"
    pid = (commands / "pid").read_text().strip()
    enter = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "--", str(commands / "bin/qemu-system-x86_64")]
    device = f"vfio-pci,host={vf},id=hostdev0,bus=rp1"
    print(f"host# qemu-system-x86_64 … -device {device}", flush=True)
    return Guest(kernel="6.12", legacy=True, root_ports=1, devices=[device], program=enter)


def transitional(stage: Stage, guest: Guest) -> None:
    """Steps 6 and 7: the VM sees a transitional device, and so does the DPU."""
    stage.chapter("In the VM: a transitional device, driven by the legacy driver")
    guest.wait_for("ip link show eth0", 60)
    claim_ids(stage, guest)
    claim_legacy(stage, guest)
    line = stage.shell("virtnet query -p 0 -v 0 | grep transitional").stdout.strip()
    stage.claim("virtnet query -v 0", '"transitional": 1,', line, line == '"transitional": 1,')
    stage.in_netns(f"ip address add {VIRTUAL.dpu}/24 dev {VIRTUAL.tap}")
    show(stage, guest, f"ip address add {VIRTUAL.guest}/24 dev eth0; ip link set eth0 up")
    ping = stage.in_netns(f"ping -c 20 -i 0.05 -W 5 {VIRTUAL.guest}").stdout
    stage.claim("VF, ping", "20 of 20 answered", loss(ping), " 0% packet loss" in ping)


def commands(stage: Stage) -> None:
    """Each I/O access beside its administration command."""
    stage.chapter("What the legacy driver did, and the administration commands that it became")
    trace = host(stage, f"cat {shlex.quote(str(stage.root / 'run/virtnet/host/files/control/trace'))} | head -24")
    stage.claim(
        "trace", "LEGACY_COMMON_CFG_WRITE beside the write of status", "there", "LEGACY_COMMON_CFG_WRITE" in trace
    )
    shown = stage.shell("virtnet stats -p 0 | grep -A 3 LEGACY_COMMON_CFG_WRITE").stdout
    done = int(re.search(r'"done": (\d+)', shown + '"done": 0')[1])  # type: ignore[index]
    stage.claim("admin virtqueue", "its commands are counted", f"{done} LEGACY_COMMON_CFG_WRITE", done > 0)


def leave(stage: Stage) -> None:
    """The VM has gone: the VFs go, and the host is switched off."""
    host(stage, f"echo 0 > /sys/bus/pci/devices/{PF}/sriov_numvfs; lspci -n")
    stage.shell("softdpu host off")


def host(stage: Stage, command: str) -> str:
    """A command on the simulated host."""
    done = stage.shell(f"softdpu host shell -c {shlex.quote(command)} 2>&1", quiet=True, timeout=120)
    stage.show("host", command, done.stdout)
    return done.stdout
