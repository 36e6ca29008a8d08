"""How what went wrong is answered: always ``{"errno": N, "errstr": "sentence"}``, with the HTTP status that fits."""

import errno
import logging
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException, MethodNotAllowedException, NotFoundException

from softdpu.controller.errors import BadRequest, OperatorError

STATUS = {
    errno.EINVAL: 400,
    errno.EPERM: 403,
    errno.EACCES: 403,
    errno.ENODEV: 404,
    errno.ENOENT: 404,
    errno.EBUSY: 409,
    errno.EEXIST: 409,
    errno.ENOTCONN: 502,
    errno.ECONNREFUSED: 502,
    errno.ECONNRESET: 502,
    errno.EAGAIN: 503,
    errno.ETIMEDOUT: 504,
    errno.EOPNOTSUPP: 501,
    errno.ENOSPC: 507,
}
log = logging.getLogger("softdpu.api")


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """The reply for an exception out of a handler, or out of the decoding of its request."""
    refusal = _refusal(request, error)
    if refusal is None:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        sentence = f"the controller made a mistake: {type(error).__name__}. Its log has the details; please report it."
        return Response({"errno": errno.EIO, "errstr": sentence}, status_code=500)
    status = error.status_code if isinstance(error, HTTPException) else STATUS.get(refusal.errno, 500)
    return Response({"errno": refusal.errno, "errstr": str(refusal)}, status_code=status)


def _refusal(request: Request[Any, Any, Any], error: Exception) -> OperatorError | None:
    """The error as a refusal, if it is one; None if it is our own mistake."""
    if isinstance(error, OperatorError):
        return error
    if isinstance(error, NotFoundException | MethodNotAllowedException):
        return OperatorError(
            errno.ENOENT, f"there is no {request.method} {request.url.path}. See /schema/openapi.json."
        )
    if isinstance(error, HTTPException | RecursionError):
        return _unreadable(error)
    number = getattr(error, "errno", None)
    if isinstance(number, int) and not isinstance(error, OSError):
        return OperatorError(number, str(error))  # a refusal of a layer that knows no operator: firmware, fabric, …
    return None


def _unreadable(error: HTTPException | RecursionError) -> OperatorError | None:
    """What the request itself is to blame for; its body is read by a library."""
    if isinstance(error, RecursionError):
        return BadRequest("its body is nested too deeply")
    if isinstance(error, InternalServerException) and "disconnected" in error.detail:
        return OperatorError(errno.ECONNRESET, "the client left before it had sent the whole request")
    return BadRequest(_reason(error)) if error.status_code < 500 else None


def _reason(error: HTTPException) -> str:
    """Which field is wrong and why, from what the decoder says."""
    if isinstance(error.extra, list) and error.extra:
        key, message = (str(error.extra[0].get(part, "")) for part in ("key", "message"))
        if message == "'data'":
            return "it has no body, and needs a JSON object"
        return message if key == "data" else f"{key}: {message}"
    return error.detail.rstrip(".")
