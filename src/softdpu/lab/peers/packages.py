"""The peers' Debian packages, installed on the machine itself: DPDK finds its drivers in one place only."""

import os
import subprocess

from softdpu.lab.peers.errors import PeerError

PACKAGES = ("dpdk", "dpdk-dev", "libdpdk-dev", "openvswitch-switch-dpdk")
_QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def missing() -> list[str]:
    """Which of the packages are not installed."""
    return [package for package in PACKAGES if not _installed(package)]


def install() -> None:
    """Install what is missing. Raises PeerError when that is impossible."""
    wanted = missing()
    if not wanted:
        return
    names = " ".join(wanted)
    if os.geteuid() != 0:
        raise PeerError(f"the peers are not installed and only root can do that: sudo apt-get install {names}")
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-qq", "--no-install-recommends", *wanted]):
        _run(command, names)


def _installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}", package]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"
    except FileNotFoundError:
        raise PeerError("the peers are Debian packages, and this machine has no dpkg: run this on Debian 12.") from None


def _run(command: list[str], names: str) -> None:
    done = subprocess.run(command, env={**os.environ, **_QUIET}, capture_output=True, text=True, check=False)
    if done.returncode:
        complaint = next((line for line in done.stderr.splitlines() if line.startswith("E:")), done.stderr.strip())
        raise PeerError(f"{names} cannot be installed: {complaint} Check the network and apt's sources.")
