"""What a dead controller leaves behind: a datapath that goes on serving guests until the next controller attaches."""

import errno
import fcntl
import os
import signal
import socket
import time

from softdpu.controller.errors import OperatorError
from softdpu.controller.root import Root

PATIENCE = 5.0  # seconds


def locked(root: Root) -> bool:
    """Whether a controller of this root lives, even if it does not answer yet or any more."""
    try:
        with root.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def refuse_if_locked(root: Root, verb: str) -> None:
    """A controller that starts or hangs must not be worked around."""
    if locked(root):
        raise OperatorError(
            errno.EAGAIN,
            f"cannot {verb} now: a controller holds {root.lock} but does not answer; it starts or hangs. "
            f"Try again in a second, or see journalctl -u virtio-net-controller.",
        )


def refuse_if_serving(root: Root, force: bool) -> None:
    """A datapath without its controller may serve guests; with ``force`` it is ended."""
    if force:
        end(root)
    elif (connection := _connect(root)) is not None:
        connection.close()
        raise OperatorError(
            errno.EBUSY,
            "the controller does not run, but its datapath does and may serve guests: start the controller "
            "(virtio-net-controller) and power-cycle then, or add --force to cut the guests off.",
        )


def end(root: Root) -> bool:
    """End the datapath of a dead controller; False if there is none."""
    if (connection := _connect(root)) is None:
        return False
    with connection:
        os.kill(_pid(connection), signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while (connection := _connect(root)) is not None:
        connection.close()
        if time.monotonic() > deadline:
            raise OperatorError(errno.ETIMEDOUT, f"the datapath has not ended within {PATIENCE:.0f} s: see its log.")
        time.sleep(0.02)
    return True


def _connect(root: Root) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(PATIENCE)
    try:
        connection.connect(str(root.datapath))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def _pid(connection: socket.socket) -> int:
    """Its process id, from the first message that a datapath sends to whoever attaches."""
    import msgspec  # noqa: PLC0415

    from softdpu.datapath.messages import Hello  # noqa: PLC0415

    try:
        return msgspec.msgpack.decode(connection.recv(4096), type=Hello).pid
    except (OSError, msgspec.MsgspecError) as error:
        raise OperatorError(
            errno.EPROTO, f"what listens on the datapath's socket does not speak as a datapath does: {error}."
        ) from error
