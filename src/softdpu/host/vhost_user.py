"""What makes a function of QEMU's own over one of our vhost-user back ends: three objects, as data for QMP. Pure.

A chardev is the connection, a netdev the back end behind it, and a virtio-net-pci device the function that the guest
sees.
"""

import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from softdpu.host.quirks import Version
from softdpu.net.features import offered, pairs
from softdpu.net.state import FunctionConfig
from softdpu.spec import features as f

Arguments: TypeAlias = Mapping[str, object]

DRIVERS = {"transitional": "virtio-net-pci-transitional", "modern": "virtio-net-pci-non-transitional"}
RING_SIZES = (256, 512, 1024)  # descriptors that QEMU gives a ring with such a back end
RECONNECT = 100  # milliseconds between tries of QEMU to find a back end that has gone
RECONNECT_MS_SINCE: Version = (9, 2, 0)  # before, whole seconds

# QEMU's properties for the bits that follow our own offer; QEMU takes away what the back end does not have.
PROPERTIES: Mapping[str, int] = {
    "csum": f.NET_CSUM,
    "guest_csum": f.NET_GUEST_CSUM,
    "ctrl_guest_offloads": f.NET_CTRL_GUEST_OFFLOADS,
    "guest_tso4": f.NET_GUEST_TSO4,
    "guest_tso6": f.NET_GUEST_TSO6,
    "guest_ecn": f.NET_GUEST_ECN,
    "guest_ufo": f.NET_GUEST_UFO,
    "guest_uso4": f.NET_GUEST_USO4,
    "guest_uso6": f.NET_GUEST_USO6,
    "host_tso4": f.NET_HOST_TSO4,
    "host_tso6": f.NET_HOST_TSO6,
    "host_ecn": f.NET_HOST_ECN,
    "host_ufo": f.NET_HOST_UFO,
    "host_uso": f.NET_HOST_USO,
    "mrg_rxbuf": f.NET_MRG_RXBUF,
    "status": f.NET_STATUS,
    "ctrl_vq": f.NET_CTRL_VQ,
    "ctrl_rx": f.NET_CTRL_RX,
    "ctrl_vlan": f.NET_CTRL_VLAN,
    "ctrl_rx_extra": f.NET_CTRL_RX_EXTRA,
    "ctrl_mac_addr": f.NET_CTRL_MAC_ADDR,
    "guest_announce": f.NET_GUEST_ANNOUNCE,
    "mq": f.NET_MQ,
    "any_layout": f.ANY_LAYOUT,
    "indirect_desc": f.INDIRECT_DESC,
    "event_idx": f.EVENT_IDX,
    "packed": f.RING_PACKED,
    "in_order": f.IN_ORDER,
    "queue_reset": f.RING_RESET,
}
# Bits that no version of QEMU offers with a vhost-user back end, though the function over vfio-user has them or may.
LACKING = f.mask_of(
    f.ACCESS_PLATFORM,
    f.SR_IOV,
    f.NOTIFICATION_DATA,
    f.ADMIN_VQ,
    f.NET_DEVICE_STATS,
    f.NET_VQ_NOTF_COAL,
    f.NET_NOTF_COAL,
    f.NET_HASH_REPORT,
    f.NET_GUEST_HDRLEN,
    f.NET_RSS,
)


def chardev_id(device_id: str) -> str:
    """Id of the connection of a device."""
    return f"{device_id}-socket"


def netdev_id(device_id: str) -> str:
    """Id of the back end of a device."""
    return f"{device_id}-backend"


def listener(name: str, socket: Path) -> Arguments:
    """Arguments of chardev-add: one that waits at ``socket`` for its back end, and again when that has gone."""
    data = {"addr": {"type": "unix", "data": {"path": str(socket)}}, "server": True, "wait": False}
    return {"id": name, "backend": {"type": "socket", "data": data}}


def chardev(name: str, socket: Path, version: Version | None) -> Arguments:
    """Arguments of chardev-add: a connection to ``socket``, made again whenever it breaks; ``None``: made once."""
    data: dict[str, object] = {"addr": {"type": "unix", "data": {"path": str(socket)}}, "server": False}
    if version is not None and version >= RECONNECT_MS_SINCE:
        data["reconnect-ms"] = RECONNECT
    elif version is not None:
        data["reconnect"] = 1
    return {"id": name, "backend": {"type": "socket", "data": data}}


def netdev(device_id: str, config: FunctionConfig) -> Arguments:
    """Arguments of netdev_add."""
    return {
        "type": "vhost-user",
        "id": netdev_id(device_id),
        "chardev": chardev_id(device_id),
        "queues": pairs(config),
    }


def device(device_id: str, config: FunctionConfig, known: Container[str]) -> dict[str, Any]:
    """Arguments of device_add without the place; ``known`` are the properties that this QEMU's device has."""
    bits = offered(config)
    features = {name: bool(bits >> bit & 1) for name, bit in PROPERTIES.items() if name in known}
    return {
        "driver": DRIVERS["modern" if config.layout == "modern" else "transitional"],
        "netdev": netdev_id(device_id),
        "mac": config.mac.hex(":"),
        "vectors": config.vectors,
        "rx_queue_size": config.queue_size,
        "tx_queue_size": config.queue_size,
        "host_mtu": config.mtu,
        "speed": config.speed,
        "duplex": "full",
        "romfile": "",  # nothing to boot from, and QEMU may have been installed without it
        **features,
    }


def command_line(device_id: str, socket: Path, config: FunctionConfig, *, listens: bool = False) -> list[str]:
    """QEMU's arguments for the three, for whoever starts a QEMU of 9.2 or newer by hand, or one that ``listens``."""
    path = str(socket).replace(",", ",,")
    how = "server=on,wait=off" if listens else f"reconnect-ms={RECONNECT}"
    function = device(device_id, config, ()) | {"id": device_id}
    return [
        *("-chardev", f"socket,id={chardev_id(device_id)},path={path},{how}"),
        *("-netdev", json.dumps(netdev(device_id, config))),
        *("-device", json.dumps(function)),
    ]
