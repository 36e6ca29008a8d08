"""The lines between a test and the agent in its guest."""

import base64

import pytest

from softdpu.lab import channel
from softdpu.lab.channel import Done, Hello, Part, Replies


def test_a_request_is_one_line_whatever_the_command_holds() -> None:
    request = channel.run(7, "echo 'a\nb'\n")
    verb, number, body = request.split()
    assert (verb, number, base64.b64decode(body)) == (b"run", b"7", b"echo 'a\nb'\n")
    assert request.count(b"\n") == 1


def test_a_command_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="49152 bytes"):
        channel.run(1, "x" * (channel.MAX_COMMAND + 1))


def test_replies_are_found_however_the_bytes_arrive() -> None:
    line = b"hello 6.12.1\ndone 3 127 " + base64.b64encode(b"\0\xff\n") + b"\npart 4 \n"
    replies = Replies()
    found = [reply for byte in line for reply in replies.feed(bytes([byte]))]
    assert found == [Hello("6.12.1"), Done(3, 127, b"\0\xff\n"), Part(4, b"")]


def test_lines_that_are_no_replies_are_passed_over() -> None:
    assert Replies().feed(b"\x1bc\x1b[2JSeaBIOS\ndone\ndone x y z\ndone 1 0 ###\n\xff\n") == []


def test_a_greeting_is_heard_behind_a_line_that_a_reset_cut_short() -> None:
    assert Replies().feed(b"done 3 0 aGVsbhello 6.1.0\n") == [Hello("6.1.0")]
