"""A saved state is not trusted: every field of it is checked before a function is made of it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from softdpu.net.features import offered, pairs
from softdpu.net.filters import TABLE
from softdpu.net.mistakes import BadState, Mistake
from softdpu.net.network import queue_total, shape
from softdpu.net.settings import check
from softdpu.net.state import CoalescingState, FilterState, FunctionConfig, FunctionState, HashState
from softdpu.pci.image import image
from softdpu.pci.msix import allowed
from softdpu.pci.sriov import page_size
from softdpu.pci.state import PciState
from softdpu.spec import features as f
from softdpu.spec import virtio_pci as v
from softdpu.spec.legacy import PAGE, rings
from softdpu.spec.pci import CONFIG_BYTES
from softdpu.spec.pci_extended import PAGE_4K, SRIOV
from softdpu.spec.vfio import SAVING, State
from softdpu.spec.virtio_net import GUEST_OFFLOADS, HASH_TYPES, MAC_BYTES, RSS_KEY_BYTES, RSS_TABLE, VLAN_BYTES
from softdpu.virtio import negotiation
from softdpu.virtio.admin.validation import admin_faults
from softdpu.virtio.areas import ADDRESSES, area_fault, size_fault
from softdpu.virtio.device import FAULT_LENGTH, FAULTS_KEPT
from softdpu.virtio.state import QueueState, VirtioState
from softdpu.virtio.status import reachable
from softdpu.virtio.validation import standing_faults

Fault = tuple[str, str]  # field, what is wrong with it
U8, U16, U32 = 1 << 8, 1 << 16, 1 << 32

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(FunctionState)


def encode(state: FunctionState) -> bytes:
    """A state as MessagePack, for the datapath to keep and for files."""
    return _encoder.encode(state)


def decode(data: bytes) -> FunctionState:
    """The state that was encoded. Raises ``BadState`` for anything else; ranges are checked by ``Function.restore``."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadState(f"saved state: {error}") from error


def validated(state: FunctionState) -> FunctionState:
    """A copy of ``state``, every field of it checked. Raises ``BadState``, naming the first that is wrong."""
    try:
        plain = msgspec.to_builtins(state, builtin_types=(bytes,))
        copy = msgspec.convert(plain, FunctionState, builtin_types=(bytes,))
        check(copy.config)
    except (TypeError, RecursionError, msgspec.ValidationError, Mistake) as error:
        raise BadState(f"saved state: {error}") from error
    for field, wrong in _faults(copy):
        raise BadState(f"saved state: {field} {wrong}")
    return copy


def _faults(state: FunctionState) -> Iterator[Fault]:
    yield from _virtio(state.virtio, state.config)
    yield from _queues(state.virtio, state.config)
    yield from standing_faults(state.virtio, state.config.queue_size, state.config.vectors, _packed(state.virtio))
    yield from _net(state)
    yield from _filter(state.net.filter)
    yield from _migration(state)
    yield from _pci(state.pci, state.config)
    yield from admin_faults(state.admin, state.config.sriov.total if state.config.sriov else 0)


def _virtio(virtio: VirtioState, config: FunctionConfig) -> Iterator[Fault]:
    other = {"modern": "legacy", "legacy": "modern"}.get(config.layout)
    if virtio.mode is not None and virtio.mode == other and not (other == "legacy" and config.virtual):
        yield "virtio.mode", f"is {virtio.mode}, which a {config.layout} function has no interface for"
    if not reachable(virtio.mode, virtio.status):
        yield "virtio.status", f"{virtio.status:#x} cannot be while the mode is {virtio.mode}"
    if virtio.withdrawn and (virtio.mode != "legacy" or virtio.status & v.DRIVER_OK):
        yield "virtio.withdrawn", f"cannot be while the status is {virtio.status:#x} and the mode {virtio.mode}"
    yield from _range("virtio.driver_features", virtio.driver_features, 1 << 64)
    for word in virtio.features_beyond:
        yield from _range(
            "virtio.features_beyond", word, 1 if virtio.mode != "modern" or virtio.status & v.FEATURES_OK else U32
        )
    if why := _negotiated(virtio, config):
        yield "virtio.driver_features", f"{virtio.driver_features:#x} cannot have been accepted: {why}"
    yield from _range("virtio.device_feature_select", virtio.device_feature_select, U32)
    yield from _range("virtio.driver_feature_select", virtio.driver_feature_select, U32)
    yield from _range("virtio.queue_select", virtio.queue_select, U16)
    yield from _range("virtio.generation", virtio.generation, U8)
    yield from _vector("virtio.config_vector", virtio.config_vector, config)
    if len(virtio.faults) > FAULTS_KEPT or any(len(fault) > FAULT_LENGTH for fault in virtio.faults):
        yield "virtio.faults", f"holds more than {FAULTS_KEPT} sentences of {FAULT_LENGTH} characters"


def _negotiated(virtio: VirtioState, config: FunctionConfig) -> str | None:
    offer = offered(config)
    if virtio.mode is None:
        return "no driver is there" if virtio.driver_features else None
    if virtio.mode == "legacy":
        strange = virtio.driver_features != negotiation.usable(offer, virtio.driver_features)
        return "some of it was not offered, or lacks what it requires" if strange else None
    return negotiation.refusal(offer, virtio.driver_features) if virtio.status & v.FEATURES_OK else None


def _queues(virtio: VirtioState, config: FunctionConfig) -> Iterator[Fault]:
    if len(virtio.queues) != queue_total(config):
        yield "virtio.queues", f"has {len(virtio.queues)} entries, the function has {queue_total(config)} virtqueues"
    for index, queue in enumerate(virtio.queues):
        name = f"virtio.queues[{index}]"
        if queue.size and (why := size_fault(queue.size, config.queue_size, _packed(virtio))):
            yield f"{name}.size", f"{queue.size} cannot be: {why}"
        yield from _vector(f"{name}.vector", queue.vector, config)
        for area in ("descriptor", "driver", "device"):
            yield from _range(f"{name}.{area}", getattr(queue, area), ADDRESSES)
        if queue.broken and not queue.enabled:
            yield f"{name}.broken", "cannot be: the queue is not enabled"
        if queue.enabled and (why := _placed(queue, virtio, config)):
            yield f"{name}.enabled", f"cannot be: {why}"


def _placed(queue: QueueState, virtio: VirtioState, config: FunctionConfig) -> str:
    if virtio.mode == "legacy":
        right = rings(queue.descriptor // PAGE, config.queue_size)
        sound = 0 < queue.descriptor < U32 * PAGE and right == (queue.descriptor, queue.driver, queue.device)
        return "" if sound and not queue.size else "its areas do not lie as in a legacy queue"
    if not virtio.status & v.FEATURES_OK:
        return "FEATURES_OK is not set"
    return area_fault(queue, queue.size or config.queue_size, _packed(virtio))


def _packed(virtio: VirtioState) -> bool:
    """Whether the queues are packed: negotiated by a modern driver, and final."""
    negotiated = virtio.mode == "modern" and virtio.status & v.FEATURES_OK
    return bool(negotiated and virtio.driver_features >> f.RING_PACKED & 1)


def _net(state: FunctionState) -> Iterator[Fault]:
    net, config = state.net, state.config
    if len(net.mac) != MAC_BYTES:
        yield "net.mac", f"has {len(net.mac)} bytes, not {MAC_BYTES}"
    multiqueue = offered(config) & state.virtio.driver_features & f.mask_of(f.NET_MQ, f.NET_RSS)
    highest = pairs(config) if multiqueue else 1
    if not 1 <= net.pairs <= highest:
        yield "net.pairs", f"{net.pairs} is not between 1 and {highest}"
    yield from _offloads(state)
    yield from _coalescing(net.coalescing, 2 * pairs(config))
    yield from _hash(net.hash, state.virtio.driver_features, highest)


def _offloads(state: FunctionState) -> Iterator[Fault]:
    offloads, accepted = state.net.offloads, state.virtio.driver_features
    if offloads is None:
        return
    if not accepted >> f.NET_CTRL_GUEST_OFFLOADS & 1:
        yield "net.offloads", f"{offloads:#x}, but the driver has not accepted CTRL_GUEST_OFFLOADS"
    elif offloads < 0 or offloads & ~(GUEST_OFFLOADS & accepted):
        yield "net.offloads", f"{offloads:#x} has bits that are no offload or that the driver has not accepted"


def _hash(state: HashState, accepted: int, pairs: int) -> Iterator[Fault]:
    if state.types & ~HASH_TYPES or (state.types and not accepted & f.mask_of(f.NET_RSS, f.NET_HASH_REPORT)):
        yield "net.hash.types", f"{state.types:#x} has bits that are no hash type or that no feature is accepted for"
    if len(state.key) > RSS_KEY_BYTES:
        yield "net.hash.key", f"has {len(state.key)} bytes, more than {RSS_KEY_BYTES}"
    if state.steer and not accepted >> f.NET_RSS & 1:
        yield "net.hash.steer", "cannot be: the driver has not accepted RSS"
    size = len(state.table)
    if bool(size) != state.steer or size > RSS_TABLE or size & size - 1:
        yield "net.hash.table", f"has {size} entries, not a power of two up to {RSS_TABLE}, or none without steering"
    if any(not 0 <= queue < pairs for queue in (*state.table, state.unclassified)):
        yield "net.hash", f"names a receive queue beyond {pairs} pairs"


def _coalescing(state: CoalescingState, queues: int) -> Iterator[Fault]:
    for name, setting in (("receive", state.receive), ("transmit", state.transmit), *state.queues.items()):
        if setting and any(not 0 <= value < U32 for value in setting):
            yield "net.coalescing", f"has {setting} for {name}, which are not two numbers of 32 bits"
    if any(not 0 <= queue < queues for queue in state.queues):
        yield "net.coalescing.queues", f"names a queue beyond {queues}"


def _filter(filters: FilterState) -> Iterator[Fault]:
    for name, table in (("unicast", filters.unicast), ("multicast", filters.multicast)):
        if len(table) > TABLE or any(len(address) != MAC_BYTES for address in table):
            yield f"net.filter.{name}", f"is not a table of up to {TABLE} addresses of {MAC_BYTES} bytes"
    if len(filters.vlans) not in (0, VLAN_BYTES):
        yield "net.filter.vlans", f"has {len(filters.vlans)} bytes, not {VLAN_BYTES} or none"


def _migration(state: FunctionState) -> Iterator[Fault]:
    migration = state.migration
    if migration.now not in set(State):
        yield "migration.now", f"{migration.now} is no state of a device"
    if state.virtio.quiesced != (migration.now not in (State.RUNNING, State.PRE_COPY)):
        yield "virtio.quiesced", f"is {state.virtio.quiesced}, which cannot be in the migration state {migration.now}"
    if migration.unread and migration.now not in SAVING:
        yield "migration.unread", "cannot be: nothing is read in this state"


def _pci(pci: PciState, config: FunctionConfig) -> Iterator[Fault]:
    content = image(shape(config))
    for offset, value in pci.config.items():
        if not 0 <= offset < CONFIG_BYTES or offset % 4 or not 0 <= value < U32:
            yield f"pci.config[{offset:#x}]", f"{value:#x} is not a dword of configuration space"
        elif stray := (value ^ _dword(content.bytes, offset)) & ~_dword(content.mask, offset):
            yield f"pci.config[{offset:#x}]", f"{value:#x} changes bits {stray:#x}, which cannot be written"
    if config.sriov and (why := _vfs(pci, content.at["sriov"], config.sriov.total)):
        yield "pci.config", why
    for entry, written in pci.table.items():
        if not 0 <= entry < config.vectors or not allowed(written):
            yield f"pci.table[{entry}]", "is not an MSI-X table entry of this function"


def _vfs(pci: PciState, at: int, total: int) -> str:
    """What is wrong with the SR-IOV capability; empty: nothing."""
    pages = pci.config.get(at + SRIOV.offset("system_page_size"), PAGE_4K)
    if not page_size(pages):
        return f"has the system page size {pages:#x}, which is not one of those supported"
    number = pci.config.get(at + SRIOV.offset("num_vfs"), 0) & 0xFFFF
    return f"has {number} VFs of {total}" if number > total else ""


def _dword(content: bytearray, offset: int) -> int:
    return int.from_bytes(content[offset : offset + 4], "little")


def _range(field: str, value: int, end: int) -> Iterator[Fault]:
    if not 0 <= value < end:
        yield field, f"{value} is not between 0 and {end - 1:#x}"


def _vector(field: str, value: int, config: FunctionConfig) -> Iterator[Fault]:
    if value != v.NO_VECTOR and not 0 <= value < config.vectors:
        yield field, f"{value} is not a vector of {config.vectors}, nor NO_VECTOR"
