"""The operator's JSON for ``virtnet list``, ``query`` and ``stats``: keys, order and types as the product has them."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from softdpu.controller import pools
from softdpu.controller.devices import Device
from softdpu.controller.identity import mac_text
from softdpu.controller.pools import Share
from softdpu.controller.root import Root
from softdpu.datapath import ledger
from softdpu.datapath.client import DatapathLink
from softdpu.datapath.counters import QUEUE_DROPS
from softdpu.net.config import hashing
from softdpu.net.features import ABSENT, IMPLEMENTED, pairs
from softdpu.net.state import FunctionConfig
from softdpu.net.vhost import VhostFunction, VhostState
from softdpu.spec.features import name_of
from softdpu.virtio.effects import NO_VECTOR, SetCoalescing

STATUS_BITS = (
    (0x01, "ACK"),
    (0x02, "DRIVER"),
    (0x04, "DRIVER_OK"),
    (0x08, "FEATURES_OK"),
    (0x40, "NEEDS_RESET"),
    (0x80, "FAILED"),
)
OCTET_BINS = (
    ("64_or_less_octet_packets", "size_64_or_less"),
    ("65_to_127_octet_packets", "size_65_to_127"),
    ("128_to_255_octet_packets", "size_128_to_255"),
    ("256_to_511_octet_packets", "size_256_to_511"),
    ("512_to_1023_octet_packets", "size_512_to_1023"),
    ("1024_to_1522_octet_packets", "size_1024_to_1522"),
    ("1523_to_2047_octet_packets", "size_1523_to_2047"),
    ("2048_to_4095_octet_packets", "size_2048_to_4095"),
    ("4096_to_8191_octet_packets", "size_4096_to_8191"),
    ("8192_to_9022_octet_packets", "size_8192_to_9022"),
    ("9023_or_more_octet_packets", "size_9023_or_more"),
)
EMPTY = Share(0, 0)
QUEUE_TOTALS = ("received_desc", "completed_desc", "bad_desc_errors")


def features(bits: int) -> dict[str, str]:
    """A feature mask: its value, then one entry a bit."""
    entries = {str(bit): name_of(bit) for bit in range(bits.bit_length()) if bits >> bit & 1}
    return {"value": hex(bits), **entries}


def absent_features() -> dict[int, str]:
    """Why the feature bits that no device has are not there."""
    return ABSENT


def status(value: int) -> dict[str, str]:
    """A device status: its value, then the names of its bits, numbered from 0."""
    names = [name for bit, name in STATUS_BITS if value & bit]
    return {"value": hex(value), **{str(n): name for n, name in enumerate(names)}}


def controller(manager: str, hotplug_limit: int, device_limit: int, queue_limit: int) -> dict[str, Any]:
    """The ``controller`` object of ``virtnet list``."""
    return {
        "emulation_manager": manager,
        "max_hotplug_devices": str(hotplug_limit),
        "max_virt_net_devices": str(device_limit),
        "max_virt_queues": str(queue_limit),
        "max_tunnel_descriptors": "6",
        "supported_features": features(IMPLEMENTED),
        "supported_virt_queue_types": {"value": "0x3", " 0": "SPLIT", " 1": "PACKED"},
        "supported_event_modes": {"value": "0x5", " 0": "NO_MSIX_MODE", " 2": "MSIX_MODE"},
    }


def device(subject: Device, root: Root, parent_address: str, pool: Share = EMPTY) -> dict[str, Any]:
    """One device as ``virtnet list`` shows it; ``pool``: what its VFs can still be given."""
    return (
        _who(subject) | _sizes(subject, pool) | _net(subject) | _port(subject, parent_address) | _export(subject, root)
    )


def transitional(config: FunctionConfig) -> bool:
    """Whether a legacy driver can use the function too, of a VF by way of its PF."""
    return config.layout == "transitional" or (config.virtual and config.legacy_access)


def _who(subject: Device) -> dict[str, Any]:
    record = subject.record
    member = {} if record.vf_id is None else {"vf_id": record.vf_id}
    return {
        "pf_id": record.pf_id,
        **member,
        "function_type": record.kind,
        "transitional": int(transitional(subject.function.state.config)),
        "vuid": record.vuid,
        "pci_bdf": str(record.bdf),
        "pci_vhca_id": hex(subject.number + 1),
        "pci_max_vfs": str(subject.function.total_vfs),
        "enabled_vfs": str(subject.function.enabled_vfs),
    }


def _sizes(subject: Device, pool: Share) -> dict[str, Any]:
    function = subject.function
    own = pools.share_of(function.state.config)
    least, most = (pools.LEAST, pools.MOST) if subject.record.vf_id is not None else (EMPTY, own)
    return {
        "msix_num_pool_size": max(0, pool.vectors),
        "min_msix_num": least.vectors,
        "max_msix_num": most.vectors,
        "min_num_of_qp": least.pairs,
        "max_num_of_qp": most.pairs,
        "qp_pool_size": max(0, pool.pairs),
        "num_msix": str(function.state.config.vectors),
        "num_queues": str(function.state.config.queues),
        "enabled_queues": str(function.enabled_queues),
        "max_queue_size": str(function.state.config.queue_size),
        "msix_config_vector": hex(_registers(subject).config_vector),
    }


class _Registers(NamedTuple):
    """What the driver has set."""

    mac: bytes
    pairs: int
    config_vector: int


def _registers(subject: Device) -> _Registers:
    """As far as they are ours: those of a vhost-user function are its VMM's."""
    state = subject.function.state
    if isinstance(state, VhostState):
        return _Registers(state.config.mac, max(1, subject.function.enabled_queues // 2), NO_VECTOR)
    return _Registers(state.net.mac, state.net.pairs, state.virtio.config_vector)


def enabled(subject: Device) -> list[int]:
    """Indices of the queues that the driver has enabled."""
    return [queue.index for queue in subject.function.queues if queue.enabled]


def _net(subject: Device) -> dict[str, Any]:
    function, registers = subject.function, _registers(subject)
    key_size, _, hash_types = hashing(function.device_features)
    return {
        "mac": mac_text(registers.mac).upper(),
        "link_status": str(int(function.state.config.link_up)),
        "max_queue_pairs": str(pairs(function.state.config)),
        "mtu": str(function.state.config.mtu),
        "speed": str(function.state.config.speed),
        "rss_max_key_size": str(key_size),
        "supported_hash_types": hex(hash_types),
        "ctrl_mac": mac_text(registers.mac).upper(),
        "ctrl_mq": str(registers.pairs),
    }


def _port(subject: Device, parent_address: str) -> dict[str, Any]:
    record = subject.record
    return {
        "sf_num": record.sf_num,
        "sf_parent_device": record.ib_device,
        "sf_parent_device_pci_addr": parent_address,
        "sf_rep_net_device": record.representor,
        "sf_rep_net_ifindex": subject.ifindex,
        "sf_rdma_device": f"mlx5_{subject.number + 2}",
        "sf_cross_mkey": "0x0",
        "sf_vhca_id": hex(subject.number + 1),
        "sf_rqt_num": "0x0",
        "aarfs": "disabled",
        "dim": "enabled" if subject.function.state.config.moderation.dynamic else "disabled",
    }


def _export(subject: Device, root: Root) -> dict[str, Any]:
    place = subject.record.place
    return {
        "export": subject.export,
        "export_reason": subject.record.export_reason,
        "export_socket": subject.record.connects_to or str(root.export(subject.record.vuid)),
        "export_listener": "vmm" if subject.record.connects_to else "dpu",
        "host": place.host if place else "none",
        "vmm": "connected" if subject.connected else "none",
        "driver_mode": subject.function.transitional_mode or "none",
        "stopped": str(int(subject.stopped)),
        "faults": list(subject.function.faults),
    }


def queried(
    subject: Device, root: Root, parent_address: str, link: DatapathLink, queues: Iterable[int], pool: Share = EMPTY
) -> dict[str, Any]:
    """One device as ``virtnet query`` shows it; ``queues`` are the ones asked for."""
    function = subject.function
    answer = device(subject, root, parent_address, pool) | {
        "device_features": features(function.device_features),
        "driver_features": features(function.driver_features),
        "status": status(function.status),
        "reset": int(function.status == 0),
        "enabled": int(bool(function.status & 0x04)),
        **_received(subject),
        "drops": drops(subject, link),
    }
    wanted = set(queues)
    infos = [queue_info(subject, link, index) for index in enabled(subject) if index in wanted]
    return answer | ({"enabled-queues-info": infos} if wanted else {})


def _received(subject: Device) -> dict[str, str]:
    """The modes of reception, of a device whose driver tells them here."""
    return {} if isinstance(subject.function, VhostFunction) else {"rx_mode": hex(subject.function.rx_mode)}


def drops(subject: Device, link: DatapathLink) -> dict[str, int]:
    """Frames not delivered, by cause."""
    return {
        name.removeprefix("drop_"): count
        for name, count in link.function_counters(subject.number).items()
        if name.startswith("drop_")
    }


def ledger_of(subject: Device, link: DatapathLink | None) -> dict[str, Any]:
    """Where the device's frames came from and what became of them; nothing while there is no datapath."""
    return {} if link is None else msgspec.to_builtins(ledger.of_port(link.function_counters(subject.number)))


def queue_info(subject: Device, link: DatapathLink, index: int) -> dict[str, str]:
    """One object of ``enabled-queues-info``: all strings."""
    queue = subject.function.queues[index]
    counted = link.queue_counters(subject.number, index)
    return {
        "index": str(index),
        "size": str(queue.size),
        "msix_vector": hex(queue.vector),
        "enable": str(int(queue.enabled)),
        "notify_offset": str(queue.notify_offset),
        "descriptor_address": hex(queue.descriptor),
        "driver_address": hex(queue.driver),
        "device_address": hex(queue.device),
    } | queue_counters(counted, subject.function.coalescing(index))


def queue_counters(counted: dict[str, int], held_back: SetCoalescing) -> dict[str, str]:
    """The counters of a queue, as strings; one without a meaning here is "0"."""
    return {
        "received_desc": str(counted["received_desc"]),
        "completed_desc": str(counted["completed_desc"]),
        "bad_desc_errors": str(counted["bad_desc_errors"]),
        "error_cqes": "0",
        "exceed_max_chain": str(counted["exceed_max_chain"]),
        "invalid_buffer": str(counted["invalid_buffer"]),
        "batch_number": str(counted["batches"]),
        "dma_q_used_number": "0",
        "handler_schd_number": str(counted["doorbells"]),
        "aux_handler_schd_number": "0",
        "max_post_desc_number": "0",
        "total_bytes": str(counted["octets"]),
        "rq_cq_max_count": str(held_back.packets),
        "rq_cq_period": str(held_back.microseconds),
        "rq_cq_period_mode": str(int(held_back.pace == "cqe")),
    }


def stats(subject: Device, link: DatapathLink, queues: Iterable[int]) -> dict[str, Any]:
    """The ``device`` object of ``virtnet stats``."""
    member = {} if subject.record.vf_id is None else {"vf_id": subject.record.vf_id}
    return {
        "pf_id": subject.record.pf_id,
        **member,
        "packet_counters": "Enabled",
        "queues-stats": [
            queue_stats(link.queue_counters(subject.number, index), subject.function.coalescing(index), index)
            for index in queues
        ],
        **administration(subject),
        "drops": drops(subject, link),
    }


def administration(subject: Device) -> dict[str, Any]:
    """Commands of the administration virtqueue, of a device that has one: counted, and the last ones in words."""
    if isinstance(subject.function, VhostFunction) or subject.function.admin_queue is None:
        return {}
    owner = subject.function.owner
    counts = {name: {"done": count.done, "refused": count.refused} for name, count in owner.state.counts.items()}
    recent = [str(trace) for trace in owner.trace]
    return {"admin-queue": {"VQ Index": subject.function.admin_queue, "commands": counts, "recent": recent}}


def queue_stats(counted: dict[str, int], held_back: SetCoalescing, index: int) -> dict[str, Any]:
    """Packet sizes and counters of one queue: rx_ names on receive queues, tx_ names on transmit queues."""
    prefix = "tx_" if index % 2 else "rx_"
    sizes = {prefix + name: counted[counter] for name, counter in OCTET_BINS}
    lost = {name.removeprefix("drop_"): counted[name] for name in QUEUE_DROPS} | {"unsent": counted["unsent_frames"]}
    return {"VQ Index": index, **sizes, **queue_counters(counted, held_back), "drops": lost}
