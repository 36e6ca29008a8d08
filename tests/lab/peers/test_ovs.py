"""OVS with DPDK, beside the system's own."""

from pathlib import Path

from softdpu.lab.peers import Hugepages, OvsDpdk


def test_an_instance_of_its_own_listens_for_guests_and_goes() -> None:
    with Hugepages(256) as pages, OvsDpdk(["guest0", "guest1"], pages) as switch:
        assert all(switch.socket(port).is_socket() for port in ("guest0", "guest1"))
        assert "priority=0,actions=NORMAL" in switch.appctl("bridge/dump-flows", "br0")
        assert Path(f"/proc/{switch.pid}/task/{switch.worker}").exists()
    assert not switch.socket("guest0").parent.exists()
    assert not Path(f"/proc/{switch.pid}").exists()
