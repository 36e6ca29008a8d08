"""How much is logged: as the operator said last, until the machine boots; before that, as the command line says."""

import logging
from typing import Literal, TypeAlias, get_args

from softdpu.controller import durable
from softdpu.controller.root import Root

FILE = "log-level"
Level: TypeAlias = Literal["info", "err", "debug"]
_NUMBERS: dict[str, int] = {"info": logging.INFO, "err": logging.ERROR, "debug": logging.DEBUG}
_LOGGER = logging.getLogger("softdpu")


def apply(level: str) -> None:
    """Log that much from now on."""
    _LOGGER.setLevel(_NUMBERS[level])


def keep(root: Root, level: Level) -> None:
    """Log that much from now on, and after a restart of the controller too. Raises NotWritten."""
    durable.replace(root.run / FILE, level.encode())
    apply(level)


def kept(root: Root) -> str | None:
    """What the operator said; None: nothing yet, or what is there is no level."""
    try:
        level = (root.run / FILE).read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return level if level in get_args(Level) else None
