"""The operator's JSON: exact keys, order and types of the product, so that its scripts find their lines."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from softdpu.controller import report
from softdpu.controller.root import Root
from softdpu.datapath.client import DatapathLink
from softdpu.net.device import Function
from tests.controller.made import made


def words(text: str) -> list[str]:
    return text.split()


CONTROLLER = words("""
    emulation_manager max_hotplug_devices max_virt_net_devices max_virt_queues max_tunnel_descriptors
    supported_features supported_virt_queue_types supported_event_modes
""")
DEVICE = words("""
    pf_id function_type transitional vuid pci_bdf pci_vhca_id pci_max_vfs enabled_vfs msix_num_pool_size
    min_msix_num max_msix_num min_num_of_qp max_num_of_qp qp_pool_size num_msix num_queues enabled_queues
    max_queue_size msix_config_vector mac link_status max_queue_pairs mtu speed rss_max_key_size
    supported_hash_types ctrl_mac ctrl_mq sf_num sf_parent_device sf_parent_device_pci_addr sf_rep_net_device
    sf_rep_net_ifindex sf_rdma_device
""")
INTEGERS = words("""
    pf_id transitional msix_num_pool_size min_msix_num max_msix_num min_num_of_qp max_num_of_qp qp_pool_size
    sf_num sf_rep_net_ifindex
""")
QUEUE = words("""
    index size msix_vector enable notify_offset descriptor_address driver_address device_address received_desc
    completed_desc bad_desc_errors error_cqes exceed_max_chain invalid_buffer batch_number dma_q_used_number
    handler_schd_number aux_handler_schd_number max_post_desc_number total_bytes rq_cq_max_count rq_cq_period
    rq_cq_period_mode
""")
SIZES = words("""
    64_or_less 65_to_127 128_to_255 256_to_511 512_to_1023 1024_to_1522 1523_to_2047 2048_to_4095 4096_to_8191
    8192_to_9022
""")
ROOT = Root(Path("/r"))


@pytest.fixture
def link() -> Iterator[DatapathLink]:
    """A link to a datapath that has counted nothing yet."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield DatapathLink(ours, lambda _: pytest.fail("nothing is asked"), lambda: None)


def shown() -> dict[str, Any]:
    return report.device(made(), ROOT, "0000:03:00.0")


def queried(link: DatapathLink) -> dict[str, Any]:
    device = made()
    assert isinstance(device.function, Function)
    for value in (b"\1", b"\3"):
        device.function.write(0, 0x12, value)
    for queue in (0, 1):
        device.function.write(0, 0x0E, queue.to_bytes(2, "little"))
        device.function.write(0, 0x08, (0x100 + 0x10 * queue).to_bytes(4, "little"))
    device.function.write(0, 0x12, b"\7")
    return report.queried(device, ROOT, "0000:03:00.0", link, range(65))


def test_controller_has_the_documented_keys() -> None:
    controller = report.controller("mlx5_0", 16, 20, 200)
    assert list(controller) == CONTROLLER
    assert controller["max_hotplug_devices"] == "16"
    assert controller["supported_virt_queue_types"] == {"value": "0x3", " 0": "SPLIT", " 1": "PACKED"}
    assert controller["supported_event_modes"] == {"value": "0x5", " 0": "NO_MSIX_MODE", " 2": "MSIX_MODE"}


def test_a_device_has_the_documented_keys_in_their_order() -> None:
    keys = list(shown())
    assert keys[: len(DEVICE)] == DEVICE
    assert keys.index("aarfs") < keys.index("dim")


def test_ids_and_pool_sizes_are_integers_and_the_rest_are_strings() -> None:
    for key, value in shown().items():
        assert type(value) is (int if key in INTEGERS else list if key == "faults" else str), key


def test_scripts_find_their_lines() -> None:
    """virtnet list | grep -i '"pf_id": 0' -A 8 | grep -i msix_num_pool_size."""
    lines = json.dumps(shown(), indent=2).splitlines()
    start = lines.index('  "pf_id": 0,')
    assert any("msix_num_pool_size" in line for line in lines[start : start + 9])
    assert '  "transitional": 1,' in lines
    assert '  "sf_rep_net_device": "en3f0pf0sf2000",' in lines


def test_a_feature_mask_has_an_entry_a_bit() -> None:
    assert report.features(1 << 5 | 1 << 32) == {
        "value": "0x100000020",
        "5": "VIRTIO_NET_F_MAC",
        "32": "VIRTIO_F_VERSION_1",
    }


def test_status_numbers_the_names_of_its_bits() -> None:
    assert report.status(0xF) == {"value": "0xf", "0": "ACK", "1": "DRIVER", "2": "DRIVER_OK", "3": "FEATURES_OK"}


def test_query_adds_features_status_and_queues(link: DatapathLink) -> None:
    answer = queried(link)
    added = ["device_features", "driver_features", "status", "reset", "enabled", "enabled-queues-info"]
    assert [key for key in answer if key in added] == added
    assert (answer["reset"], answer["enabled"], answer["enabled_queues"]) == (0, 1, "2")
    assert answer["status"] == {"value": "0x7", "0": "ACK", "1": "DRIVER", "2": "DRIVER_OK"}


def test_queue_info_is_all_strings_in_their_order(link: DatapathLink) -> None:
    first, second = queried(link)["enabled-queues-info"]
    assert list(first) == QUEUE
    assert all(type(value) is str for value in first.values())
    assert (first["index"], second["index"]) == ("0", "1")
    assert (first["descriptor_address"], first["msix_vector"]) == ("0x100000", "0xffff")


def test_brief_has_no_queue_info(link: DatapathLink) -> None:
    assert "enabled-queues-info" not in report.queried(made(), ROOT, "0000:03:00.0", link, [])


def test_stats_count_sizes_by_direction(link: DatapathLink) -> None:
    stats = report.stats(made(), link, [0, 1])
    assert list(stats) == ["pf_id", "packet_counters", "queues-stats", "drops"]
    assert stats["packet_counters"] == "Enabled"
    for queue, direction in zip(stats["queues-stats"], ("rx", "tx"), strict=True):
        keys = list(queue)
        assert keys[0] == "VQ Index"
        assert keys[1:11] == [f"{direction}_{size}_octet_packets" for size in SIZES]
        assert keys[-16:] == [*QUEUE[-15:], "drops"]
        assert list(queue["drops"]) == ["no_buffer", "not_ready", "bad_header", "bad_descriptor", "too_short", "unsent"]
        assert type(queue[keys[1]]) is int
