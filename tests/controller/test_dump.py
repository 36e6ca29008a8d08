"""All that is known of a device, as JSON."""

import json
import socket

from softdpu.controller.dump import dump
from softdpu.datapath.client import DatapathLink
from softdpu.net.device import Function
from tests.controller.made import bind, made


def test_registers_settings_and_queues_are_there_and_readable() -> None:
    device = made()
    assert isinstance(device.function, Function)
    bind(device)
    device.function.write(0, 0x08, (0x100).to_bytes(4, "little"))
    device.function.set_moderation(packets=8, microseconds=50)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        shown = json.loads(json.dumps(dump(device, DatapathLink(ours, lambda _: None, lambda: None))))
    assert shown["vuid"] == device.name
    assert shown["state"]["config"]["mac"] == "0cc47aff2200"
    assert shown["state"]["virtio"]["status"] == 3
    [queue] = shown["queues"]
    assert (queue["index"], queue["taken_and_not_used"], queue["doorbells"]) == (0, 0, 0)
    assert queue["held_back"] == {"frames": 8, "microseconds": 50, "pace": "event"}
