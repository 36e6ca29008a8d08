"""A connection to a device, where the other side breaks off."""

import os
import socket
from pathlib import Path

import pytest

from softdpu.testkit.link import Disconnected, Link


def test_descriptors_of_a_message_that_was_cut_off_are_closed() -> None:
    ours, theirs = socket.socketpair()
    with Link(ours) as link, theirs:
        held = os.memfd_create("given")
        socket.send_fds(theirs, [b"half"], [held] * 8)
        theirs.shutdown(socket.SHUT_RDWR)
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(Disconnected):
            link.receive_bytes(16)
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        os.close(held)
