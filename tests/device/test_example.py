"""The example that the test kit's documentation opens with, run as it stands there."""

import re
import textwrap
import threading

import pytest

import softdpu.testkit
from softdpu.testkit import frame
from tests.dpu_under_test import Plugged, Representor


def test_example_of_the_documentation(
    device: Plugged, outside: Representor, capsys: pytest.CaptureFixture[str]
) -> None:
    found = re.search(r"::\n\n((?:    .*\n|\n)+)", softdpu.testkit.__doc__ or "")
    assert found
    over = threading.Event()

    def answer() -> None:
        while not over.wait(0.02):
            outside.send(frame(device.mac, bytes.fromhex("02000000fffe"), b"answer"))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        exec(textwrap.dedent(found[1]), {"path": device.socket})
    finally:
        over.set()
        thread.join()
    assert b"answer".hex() in capsys.readouterr().out
    assert b"hello" in outside.receive()
