"""The controller with more hotplug ports than the card has: ``python -m tools.bench.many``, with its own arguments."""

import dataclasses
import sys
from pathlib import Path

from softdpu.daemon.__main__ import main
from softdpu.firmware import PARAMETERS, Firmware

PORTS = "PCI_SWITCH_EMULATION_NUM_PORT"
MOST = 512


def lift() -> None:
    """In this process the switch has ``MOST`` ports."""
    PARAMETERS[PORTS] = dataclasses.replace(PARAMETERS[PORTS], highest=MOST)


def settle(root: Path) -> None:
    """Firmware settings for that many devices, current at once."""
    lift()
    firmware = Firmware.load(root)
    firmware.set_next(
        {
            "VIRTIO_NET_EMULATION_ENABLE": 1,
            "VIRTIO_NET_EMULATION_NUM_MSIX": 4,
            "VIRTIO_EMULATION_HOTPLUG_TRANS": 1,
            "PCI_SWITCH_EMULATION_ENABLE": 1,
            PORTS: MOST,
            "PF_TOTAL_SF": MOST,
        }
    )
    firmware.power_cycle()


if __name__ == "__main__":
    lift()
    sys.exit(main())
