"""The one door of the server: what every request passes, whatever its route. Plain ASGI, so that streams stay streams.

    request id -> Host -> browser origin -> key, scope, quota (guard.py) -> room (connections, bytes) -> whole body in time -> the app
                                                                   <- security headers, x-request-id, x-ratelimit-…, audit

A refusal here is answered in the OpenAI error shape and touches nothing behind. Only /healthz, /readyz and the files of the page
/annotate need no key.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmos.errors import InvalidValue, LLMOSError, OverCapacity
from llmos.infra.files import told_storage_error
from llmos.infra.logs import get_logger
from llmos.server.guard import Guard, Visit
from llmos.server.limits import Limits
from llmos.server.problems import Refused, answer
from llmos.settings import Settings

log = get_logger("server")
OPEN_PATHS = ("/healthz", "/readyz")
OPEN_PAGES = ("/annotate", "/annotate/annotate.css", "/annotate/annotate.js")  # files of the package, the same for everybody
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SAFE = ("GET", "HEAD", "OPTIONS")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECURITY = {
    "content-security-policy": "default-src 'self'; script-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

Observe = Callable[[Scope, int, float], None]


def is_loopback(host: str) -> bool:
    return host in _LOOPBACK or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


class Gate:
    """`observe(scope, status, seconds)` is told of every request once it is over (metrics, access log); where contents may be
    logged (LLMOS_LOG_CONTENTS, or the project's own) the state of the scope then holds `asked` and `answered`, the two bodies."""

    def __init__(self, app: ASGIApp, *, settings: Settings, limits: Limits, guard: Guard, observe: Observe) -> None:
        self.app = app
        self.limits = limits
        self.guard = guard
        self.log_contents = settings.log_contents
        self.observe = observe
        self.hosts = {name.lower() for name in (*_LOOPBACK, settings.host, *settings.allowed_hosts)} - {"0.0.0.0", "::"}  # noqa: S104
        self.active = 0
        self.buffered_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        start, status, started = time.perf_counter(), 500, False
        request_id = _request_id(Headers(scope=scope))
        at_end: list[Callable[[], None]] = []
        answered: list[bytes] = []
        scope.setdefault("state", {}).update(request_id=request_id, at_end=at_end)
        visit = self.guard.visit(scope)

        async def send_with_headers(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                for name, value in _SECURITY.items():
                    headers.setdefault(name, value)
            elif self.log_contents or visit.logs_contents:
                answered.append(message.get("body", b""))
            await send(message)

        async def send_audited(message: Message) -> None:
            await visit.sending(message, send_with_headers)

        self.active += 1
        try:
            await self._pass(visit, receive, send_audited)
        except ConnectionAbortedError:
            status = 499
        except Exception as problem:
            log.exception("request failed", extra={"request_id": request_id, "path": scope["path"]})
            if started:
                raise  # half an answer is out: the connection must break
            error = unforeseen(request_id, problem)
            scope["state"]["refusal"] = error.code
            await answer(error, scope["path"])(scope, receive, send_with_headers)
        finally:
            self.active -= 1
            for give_back in at_end:
                give_back()
            if self.log_contents or visit.logs_contents:
                scope["state"]["answered"] = b"".join(answered).decode("utf-8", "replace")
            await visit.leave(status)
            self.observe(scope, status, time.perf_counter() - start)

    async def _pass(self, visit: Visit, receive: Receive, send: Send) -> None:
        scope, taken = visit.scope, 0
        try:
            headers = Headers(scope=scope)
            self._check_host(headers)
            self._check_origin(scope, headers)
            await visit.enter(headers)
            if self.active > self.limits.max_requests:
                raise OverCapacity(f"The server works on {self.limits.max_requests} requests already.", retry_after_s=1)
            if visit.rule.upload:
                await self._upload(visit, headers, receive, send)
                return
            body, taken = await self._body(headers, receive)
            scope["state"]["body_bytes"] = len(body)
            if self.log_contents or visit.logs_contents:
                scope["state"]["asked"] = body.decode("utf-8", "replace")
            _check_characters(body)
            _say_json(scope, headers, body)
            async with visit.room(0):
                await self.app(scope, _replay(body, receive), send)
        except LLMOSError as refusal:
            scope["state"]["refusal"] = refusal.code
            response = answer(refusal, scope["path"])
            response.headers["connection"] = "close"
            await response(scope, receive, send)
        finally:
            self.buffered_bytes -= taken

    async def _upload(self, visit: Visit, headers: Headers, receive: Receive, send: Send) -> None:
        """The body goes to the route as it comes, which keeps it on disk; here are its limits in size and pace."""
        declared = int(length) if (length := headers.get("content-length", "0")).isdigit() else 0
        if declared > self.limits.upload_bytes:
            raise _too_large(declared, self.limits.upload_bytes)
        visit.scope["state"]["body_bytes"] = 0
        size, whole = 0, False

        async def receive_in_time() -> Message:
            nonlocal size, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout(self.limits.body_s):
                    message = await receive()
            except TimeoutError:
                raise Refused(408, "body_too_slow", f"Nothing of the body came for {self.limits.body_s:g} s.") from None
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > self.limits.upload_bytes:
                raise _too_large(size, self.limits.upload_bytes)
            return message

        async with visit.room(declared):
            await self.app(visit.scope, receive_in_time, send)

    def _check_host(self, headers: Headers) -> None:
        given = headers.getlist("host")
        name = urlsplit(f"//{given[0]}").hostname if len(given) == 1 and re.fullmatch(r"[\w.:\[\]-]+", given[0]) else None
        if name is None or not (name in self.hosts or given[0].lower() in self.hosts):
            raise Refused(
                421,
                "host_not_allowed",
                f"The Host header {', '.join(given) or '(none)'!r} is not one of this server's names.",
                param="Host",
                hint="Add the name to LLMOS_ALLOWED_HOSTS.",
            )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """A browser on another site must not change anything here; programs send neither header."""
        if scope["method"] in _SAFE:
            return
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        own = f"{scope.get('scheme', 'http')}://{headers.get('host', '')}"
        if site not in (None, "same-origin", "none") or (origin is not None and origin.lower() != own.lower()):
            raise Refused(403, "foreign_origin", f"Requests from the web page {origin or site!r} are not accepted.", param="Origin")

    async def _body(self, headers: Headers, receive: Receive) -> tuple[bytes, int]:
        """The whole body, in time and within size, and the bytes it counts against all bodies together."""
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.limits.body_bytes:
            raise _too_large(int(length), self.limits.body_bytes)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "disconnected", "The client went away before its request was complete.")
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    self.buffered_bytes += len(chunk)
                    if size > self.limits.body_bytes:
                        raise _too_large(size, self.limits.body_bytes)
                    if self.buffered_bytes > self.limits.total_body_bytes:
                        raise OverCapacity("The bodies of all requests together are over the server's limit.", retry_after_s=2)
                    parts.append(chunk)
                    if not message.get("more_body", False):
                        return b"".join(parts), size
        except TimeoutError:
            self.buffered_bytes -= size
            raise Refused(408, "body_too_slow", f"The body did not arrive within {self.limits.body_s:g} s.") from None
        except BaseException:
            self.buffered_bytes -= size
            raise


def unforeseen(request_id: str, problem: BaseException | None = None) -> LLMOSError:
    """The answer to an exception that nobody caught: of a disk or of file handles its own error, whoever met it."""
    if isinstance(problem, OSError) and (told := told_storage_error(problem, Path(str(problem.filename or "a file")))) is not None:
        return told
    return LLMOSError("Something went wrong inside the server.", hint=f"Its log has more under the request id {request_id}.")


def _too_large(size: int, limit: int) -> LLMOSError:
    return Refused(413, "body_too_large", f"The body has {size} bytes or more; at most {limit} are accepted.")


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def _check_characters(body: bytes) -> None:
    """JSON can escape half of a surrogate pair, which is no character and which no tokeniser takes."""
    if b"\\ud" not in body and b"\\uD" not in body:
        return
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidValue("A text of the body holds half of a surrogate pair (\\ud800 to \\udfff).") from None
    except (ValueError, RecursionError):
        return  # no JSON: the route says so


def _say_json(scope: Scope, headers: Headers, body: bytes) -> None:
    """`curl -d '{...}'` sends JSON under the name of a form; Ollama's documentation does. A JSON object is taken as one."""
    if body.lstrip()[:1] == b"{" and headers.get("content-type", "application/x-www-form-urlencoded").startswith(
        "application/x-www"
    ):
        MutableHeaders(scope=scope)["content-type"] = "application/json"


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, then what the connection says (its end)."""
    first: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay
