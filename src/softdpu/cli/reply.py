"""What a virtnet verb prints: the request as it was understood, and the reply, as scripts for the real one expect."""

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from softdpu.cli.process import Exit
from softdpu.controller.errors import OperatorError


def fields(options: Namespace, *names: str) -> dict[str, Any]:
    """The named options that were given, in this order."""
    given = {name: getattr(options, name) for name in names}
    return {name: value for name, value in given.items() if value is not None and value is not False}


def echo(request: Mapping[str, Any]) -> None:
    """The request as a Python dict on one line, numbers as hex strings: ``{'pf': '0x0', 'queue_id': '0x0'}``."""
    print({name: hex(value) if isinstance(value, int) else value for name, value in request.items()}, flush=True)


def show(reply: Mapping[str, Any]) -> Exit:
    """A reply as JSON, one key a line, two spaces deep."""
    print(pretty(reply))
    return Exit.SUCCESS


def refuse(error: OperatorError) -> Exit:
    """A refusal as JSON."""
    print(pretty({"errno": error.errno, "errstr": str(error)}))
    return Exit.FAILURE


def pretty(reply: Mapping[str, Any]) -> str:
    """JSON as people read it."""
    return json.dumps(reply, indent=2, ensure_ascii=False)
