"""An uplink by packet socket and by XDP socket: cycles a frame, out and in, of 64 bytes and of 64 KB to be cut.

``python -m tools.bench.uplink``, as root. The kinds take turns on one veth pair; see docs/decisions on AF_XDP.
"""

import asyncio
import subprocess

from softdpu.fabric import representor, uplink
from tools.bench.windows import ROOT

ROUNDS = 5
NAMESPACE = "softdpu-bench-uplink"
BUILD = ("cargo", "build", "--quiet", "--release", "--example", "uplink", "--package", "softdpu-datapath")


def main() -> None:
    """Prints a line a round, kind and size."""
    subprocess.run(BUILD, cwd=ROOT, check=True)
    _ip("netns", "add", NAMESPACE)
    try:
        _ip("-n", NAMESPACE, "link", "add", "near", "type", "veth", "peer", "name", "far")
        for name in ("near", "far"):
            quiet = f"net.ipv6.conf.{name}.disable_ipv6=1"
            _ip("netns", "exec", NAMESPACE, "sysctl", "-qw", quiet)
            _ip("-n", NAMESPACE, "link", "set", name, "up")
        for _ in range(ROUNDS):
            for express in (False, True):
                _run(express)
    finally:
        _ip("netns", "del", NAMESPACE)


def _run(express: bool) -> None:
    wires = [_wire("far", False), _wire("near", False), *([_wire("near", True)] if express else [])]
    try:
        given = [number for wire in wires for number in wire.descriptors]
        program = ROOT / "target/release/examples/uplink"
        subprocess.run([program, *map(str, given)], pass_fds=given, check=True, timeout=60)
    finally:
        for wire in wires:
            wire.close()


def _wire(name: str, express: bool) -> uplink.Wire:
    async def opened() -> uplink.Wire:
        found = await representor.find(name, NAMESPACE)
        assert found is not None
        return await uplink.open_wire(found, NAMESPACE, express)

    wire = asyncio.run(opened())
    assert not wire.refusal, wire.refusal
    return wire


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


if __name__ == "__main__":
    main()
