"""What a caller is told when something goes wrong: one shape, OpenAI's, and never a traceback."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from isthmus.core.errors import BadInput, Busy, IsthmusError, MissingExtra, NotFound

__all__ = ["Refused", "TooMuch", "Unsupported", "add_handlers", "refusal"]

TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class TooMuch(BadInput):
    """More than the server takes: bytes, pixels, samples or items."""


class Refused(BadInput):
    """Something that this server does not do, however it is asked."""


class Unsupported(BadInput):
    """A kind of content that the server does not read."""


def refusal(status: int, message: str, *, param: str | None = None, headers: dict[str, str] | None = None) -> Any:
    """Return the response of an error: {"error": {message, type, param, code}}."""
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    # a message may quote what was sent, and half a surrogate pair has no UTF-8
    message = message.encode("utf-8", "replace").decode()
    error = {"message": message, "type": kind, "param": param, "code": status}
    return JSONResponse({"error": error}, status_code=status, headers=headers)


def status_of(error: IsthmusError) -> int:
    """Return the status of an error that a caller can mend."""
    for kind, status in (
        (TooMuch, 413),
        (Refused, 409),
        (Unsupported, 415),
        (Busy, 503),
        (NotFound, 404),
        (MissingExtra, 501),
    ):
        if isinstance(error, kind):
            return status
    return 400


def add_handlers(app: FastAPI) -> None:
    """Let every error of an app leave in the one shape."""

    async def ours(request: Request, error: Exception) -> Any:
        assert isinstance(error, IsthmusError)
        status = status_of(error)
        return refusal(status, str(error), headers={"Retry-After": "1"} if status == 503 else None)

    async def invalid(request: Request, error: Exception) -> Any:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
        return refusal(400, f"{where or 'the body'}: {first['msg']}{more}", param=where or None)

    async def http(request: Request, error: Exception) -> Any:
        assert isinstance(error, HTTPException)
        return refusal(error.status_code, str(error.detail), headers=dict(error.headers or {}))

    app.add_exception_handler(IsthmusError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
