"""How an error looks on the wire: the OpenAI shape everywhere, Anthropic's and Ollama's own where their clients call.

    {"error": {"message", "type", "param", "code"}}      + x-request-id, and Retry-After where trying again makes sense

Nothing of the inside leaves: an unexpected exception becomes "internal_error" with the request id to look up in the log.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse

from llmos.errors import InvalidValue, LLMOSError, UnsupportedFeature
from llmos.infra.redact import redact, visible
from llmos.server.track import note_error

_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
_OLLAMA = ("/api/generate", "/api/chat", "/api/embed", "/api/tags", "/api/show", "/api/ps", "/api/version")


class Refused(LLMOSError):
    """A request that HTTP itself refuses: too large, too slow, wrong host, method or origin."""

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None, hint: str = "") -> None:
        super().__init__(message, param=param, hint=hint)
        self.http_status = status
        self.code = code


def error_type(status: int) -> str:
    if status in _TYPES:
        return _TYPES[status]
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "api_error"


def body_of(error: LLMOSError, path: str = "/v1") -> dict[str, Any]:
    """The JSON body for `error`, in the dialect of the route. What it quotes of the request is shown, not obeyed, and no secret."""
    said = visible(redact(str(error)))
    param = visible(redact(error.param)) if error.param is not None else None
    kind = error_type(error.http_status)
    if path in ("/v1/messages", "/v1/messages/count_tokens"):
        kind = "overloaded_error" if error.http_status == 503 else kind
        return {"type": "error", "error": {"type": kind, "message": said}}
    if path in _OLLAMA:
        return {"error": said}
    return {"error": {"message": said, "type": kind, "param": param, "code": error.code}}


def headers_of(error: LLMOSError) -> dict[str, str]:
    """Retry-After in whole seconds, rounded up; WWW-Authenticate with 401."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.http_status == 401:
        headers["www-authenticate"] = "Bearer"
    return headers


def answer(error: LLMOSError, path: str = "/v1") -> JSONResponse:
    return JSONResponse(body_of(error, path), status_code=error.http_status, headers=headers_of(error))


_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_TYPE_TAGS = {"str", "int", "float", "bool", "dict", "list", "tuple"}  # pydantic names the branch of a union so


def from_validation(problems: Sequence[Any]) -> LLMOSError:
    """The first of pydantic's findings as one sentence that names the field, `messages[0].content` style."""
    first = problems[0]
    context = first.get("ctx") or {}
    if first["type"] == "json_invalid":
        return InvalidValue(f"The body is not valid JSON: {context.get('error', '')}.")
    param = ""
    for part in [*first["loc"], *([context["field"]] if first["type"] == "refused" else [])]:
        if isinstance(part, int):
            param += f"[{part}]"
        elif part != "body" and part not in _TYPE_TAGS and _FIELD.fullmatch(part):
            param += f".{part}" if param else part
    if first["type"] == "refused":
        return UnsupportedFeature(f"{first['msg']}", param=param)
    if first["type"] == "extra_forbidden":
        return InvalidValue(f"Unknown field {param!r}.", param=param, hint="Remove it; no field is ignored.")
    if first["type"] == "missing":
        return InvalidValue(f"The field {param or 'body'!r} is missing.", param=param or None)
    return InvalidValue(f"{param or 'body'}: {first['msg'].removeprefix('Value error, ')}.", param=param or None)


async def on_llmos_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LLMOSError)
    note_error(request.scope, error.code)
    return answer(error, request.url.path)


async def on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = from_validation(error.errors())
    note_error(request.scope, found.code)
    return answer(found, request.url.path)


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    status = getattr(error, "status_code", 500)
    codes = {404: ("not_found", "There is no route"), 405: ("method_not_allowed", "This route does not answer")}
    code, text = codes.get(status, ("http_error", str(getattr(error, "detail", ""))))
    note_error(request.scope, code)
    return answer(Refused(status, code, f"{text} {request.method} {request.url.path}."), request.url.path)
