"""Work in a network namespace without ever moving the process there.

A thread can be in another namespace than its process, and what it opens (a tap, a netlink socket) stays bound to that
namespace. So each piece of work gets a thread of its own, which ends with it: no thread that others share ever moves.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pyroute2 import AsyncIPRoute  # type: ignore[import-untyped]
from pyroute2 import netns as pyroute2_netns

from softdpu.fabric.errors import NamespaceNotFound, NamespaceRefused

T = TypeVar("T")
Netlink: TypeAlias = Any  # pyroute2 has no types; an AsyncIPRoute

NAMED = Path("/run/netns")  # where `ip netns` keeps its names


def place(netns: str | None) -> str:
    """How a namespace is called in a sentence. None is the one that the process is in."""
    return f"network namespace {netns}" if netns else "this machine"


async def inside(netns: str | None, work: Callable[[], T]) -> T:
    """The result of ``work``, done in a namespace: a name of `ip netns`, a path such as /proc/7/ns/net, or None.

    Raises NamespaceNotFound or NamespaceRefused.
    """
    if netns is None:
        return await asyncio.to_thread(work)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="netns") as thread:
        return await asyncio.get_running_loop().run_in_executor(thread, _enter_and_do, netns, work)


@asynccontextmanager
async def netlink(netns: str | None) -> AsyncIterator[Netlink]:
    """A route netlink socket of a namespace, for the time of the block."""
    sock = await inside(netns, _netlink_socket)
    async with AsyncIPRoute(fileno=sock.detach()) as routes:
        yield routes


def _enter_and_do(netns: str, work: Callable[[], T]) -> T:
    descriptor = _open(netns)
    try:
        pyroute2_netns.setns(descriptor)
    except OSError as error:
        raise NamespaceRefused(netns, error) from error
    finally:
        os.close(descriptor)
    return work()


def _open(netns: str) -> int:
    path = Path(netns) if "/" in netns else NAMED / netns
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NamespaceNotFound(netns) from error
    except OSError as error:
        raise NamespaceRefused(netns, error) from error


def _netlink_socket() -> socket.socket:
    # asyncio takes datagram sockets only, and netlink treats raw and datagram alike.
    return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
