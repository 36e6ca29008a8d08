"""Waiting for the controller that follows the present one, after a restart or a power cycle."""

import errno
import time
from types import TracebackType

from softdpu.api.client import Client
from softdpu.controller.errors import OperatorError

PATIENCE = 20.0  # seconds
STEP = 0.02


class Successor:
    """``with Successor(client): ask for a restart``: leaves the block when another controller answers.

    A new controller renames its own socket into place, so it is another file.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    def __enter__(self) -> None:
        self.before = self._socket()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._wait()

    def _socket(self) -> tuple[int, int] | None:
        """What tells one controller's socket from another's."""
        try:
            status = self.client.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_ctime_ns

    def _answers(self) -> bool:
        """Whether anything is answered, a refusal too."""
        try:
            self.client.get("/v1/update")
        except OperatorError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ECONNRESET)
        return True

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self._socket() not in (None, self.before) and self._answers():
                return
            time.sleep(STEP)
        raise OperatorError(
            errno.ETIMEDOUT,
            f"no new controller answered within {PATIENCE:.0f} s: see journalctl -u virtio-net-controller, "
            f"and start it with systemctl start virtio-net-controller.",
        )
