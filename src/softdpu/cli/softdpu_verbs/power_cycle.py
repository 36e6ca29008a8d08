"""softdpu power-cycle: host and DPU lose power and start again; the firmware's next boot becomes current."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client, ControllerNotRunning
from softdpu.cli import orphan
from softdpu.cli.process import Exit
from softdpu.cli.successor import Successor
from softdpu.controller.root import Root
from softdpu.firmware.store import Firmware

HELP = "power cycle of host and DPU: the settings of mlxconfig take effect"


def declare(parser: ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--force", action="store_true", help="even while hosts use devices: they are cut off")


def run(options: Namespace, root: Root) -> int:
    """Returns when the new settings are current and, if they let it run, the controller is back."""
    firmware = Firmware.load(root.path)
    client = Client(root.api)
    try:
        if firmware.next["VIRTIO_NET_EMULATION_ENABLE"]:
            with Successor(client):
                client.post("/v1/power-cycle", {"force": options.force})
        else:
            client.post("/v1/power-cycle", {"force": options.force})
    except ControllerNotRunning:
        _without_controller(firmware, root, options.force)
    print("Power cycle done: the settings of the next boot are current.")
    return Exit.SUCCESS


def _without_controller(firmware: Firmware, root: Root, force: bool) -> None:
    """No device survives a power cycle, so no recovery file does."""
    orphan.refuse_if_locked(root, "power-cycle")
    orphan.refuse_if_serving(root, force)
    if root.recovery.is_dir():
        for file in root.recovery.glob("*VNETS*"):
            file.unlink(missing_ok=True)
    firmware.power_cycle()
