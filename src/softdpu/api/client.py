"""A thin client of a controller's HTTP interface, for the commands: standard library only, nothing slow to import."""

import errno
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softdpu.controller.errors import OperatorError

PATIENCE = 120.0  # seconds: a hotplug waits for the guest


class ControllerNotRunning(OperatorError):
    """Nobody listens on the controller's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            errno.ECONNREFUSED,
            f"the controller does not run: nothing answers on {path}. Start it with systemctl start "
            f"virtio-net-controller (or run virtio-net-controller), or name another root with --root or SOFTDPU_ROOT.",
        )


class Client:
    """Requests to the controller whose socket is at ``path``. Every failure is an OperatorError."""

    def __init__(self, path: Path, patience: float = PATIENCE) -> None:
        self.path = path
        self.patience = patience

    def get(self, resource: str, parameters: Mapping[str, object] | None = None) -> dict[str, Any]:
        """The JSON at a resource; parameters that are None are left away."""
        return _json(self._exchange("GET", resource + _query(parameters or {}), None))

    def post(self, resource: str, request: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Send a request; fields that are None are left away."""
        import json  # noqa: PLC0415

        body = None if request is None else json.dumps({k: v for k, v in request.items() if v is not None})
        return _json(self._exchange("POST", resource, body))

    def delete(self, resource: str) -> dict[str, Any]:
        """Remove a resource."""
        return _json(self._exchange("DELETE", resource, None))

    def text(self, resource: str) -> str:
        """A resource that is no JSON."""
        status, body = self._exchange("GET", resource, None)
        if status >= 400:
            _json((status, body))
        return body.decode()

    def _exchange(self, method: str, resource: str, body: str | None) -> tuple[int, bytes]:
        import http.client  # noqa: PLC0415  # a quarter of the command's start

        connection = http.client.HTTPConnection("localhost", timeout=self.patience)
        connection.sock = self._connect()
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, resource, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError as error:
            raise OperatorError(
                errno.ETIMEDOUT,
                f"the controller did not answer within {self.patience:.0f} s: see its log (journalctl -u "
                f"virtio-net-controller), and virtnet health.",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise OperatorError(
                errno.ECONNRESET,
                "the controller went away before it answered: see its log (journalctl -u virtio-net-controller); "
                "what was asked may or may not have been done, virtnet list shows it.",
            ) from error
        finally:
            connection.close()

    def _connect(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connected.settimeout(self.patience)
        try:
            connected.connect(str(self.path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            connected.close()
            raise ControllerNotRunning(self.path) from error
        except OSError as error:
            connected.close()
            raise OperatorError(
                error.errno or errno.EINVAL,
                f"cannot reach the controller at {self.path}: {error.strerror or error}. Only the controller's own "
                f"user (usually root) may talk to it: try sudo, or name another root with --root or SOFTDPU_ROOT.",
            ) from error
        return connected


def _query(parameters: Mapping[str, object]) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    if not given:
        return ""
    from urllib.parse import urlencode  # noqa: PLC0415

    return "?" + urlencode({name: int(value) if isinstance(value, bool) else value for name, value in given.items()})


def _json(exchange: tuple[int, bytes]) -> dict[str, Any]:
    """The reply's object; a refusal is raised."""
    import json  # noqa: PLC0415

    status, body = exchange
    try:
        reply = json.loads(body)
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise OperatorError(errno.EPROTO, f"what answers on the controller's socket is no controller (HTTP {status}).")
    if status >= 400 or reply.get("errno"):
        raise OperatorError(int(reply.get("errno") or errno.EIO), str(reply.get("errstr") or f"HTTP {status}"))
    return reply
