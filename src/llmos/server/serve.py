"""`llmos serve`: the app under uvicorn with h11, the limits of the promises, and a stop that finishes what runs.

SIGTERM or SIGINT: not ready at once, no new work, running work finishes (20 s at most), exit 0
a second one:      everything is cancelled, exit 0 within two seconds
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from llmos.errors import InvalidValue
from llmos.server.gate import is_loopback
from llmos.server.limits import Limits
from llmos.settings import Settings

FINISH_S = 20
HURRY_S = 1.5


class Protocol(H11Protocol):
    """h11 with limits on the time that headers may take and that an answer may lie unread, and refusals in our error shape.

    An unread answer fills the transport's buffer: pause_writing. Aborting the connection ends the request like any disconnect.
    """

    limits = Limits()
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._arm()

    def _arm(self) -> None:
        self._headers_due = self.loop.call_later(self.limits.header_s, self._too_slow)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._headers_due.cancel()

    def data_received(self, data: bytes) -> None:
        if self.conn.their_state is h11.IDLE and self._headers_due.cancelled():
            self._arm()  # the first bytes of the next request on this connection
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_due.cancel()
        self._is_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        body = (
            b'{"error":{"message":"The request is not valid HTTP.","type":"invalid_request_error","param":null,"code":"bad_http"}}'
        )
        headers = [(b"content-type", b"application/json"), (b"connection", b"close"), (b"content-length", str(len(body)).encode())]
        response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn whose stop is ours: `on_stop` at the first signal, no wait after the second, no re-raised signal at the end."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None], on_ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self.on_stop, self.on_ready = on_stop, on_ready
        self.stopped = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.stopped:
            self.force_exit = True
            hurry = threading.Timer(HURRY_S, os._exit, (0,))
            hurry.daemon = True
            hurry.start()
        self.should_exit = self.stopped = True
        self.on_stop()

    def _log_started_message(self, listeners: Sequence[socket.SocketType]) -> None:
        host, port = listeners[0].getsockname()[:2]
        scheme = "https" if self.config.is_ssl else "http"
        self.on_ready(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            if not self.stopped:  # after a stop ours stay: a second signal must find them until the process is gone
                for number, handler in before.items():
                    signal.signal(number, handler)


def make_server(
    app: FastAPI,
    settings: Settings,
    *,
    limits: Limits | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    on_ready: Callable[[str], None] = lambda url: None,
) -> Server:
    """A server for `app`, not started. on_ready gets its address once it listens."""
    limits = limits or Limits()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=type("LimitedProtocol", (Protocol,), {"limits": limits}),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=limits.keep_alive_s,
        timeout_graceful_shutdown=FINISH_S,
        limit_concurrency=limits.connections,
        h11_max_incomplete_event_size=limits.header_bytes,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
    )

    def on_stop() -> None:
        app.state.llmos.draining = True

    return Server(config, on_stop, on_ready)


def check_address(settings: Settings, *, insecure_http: bool, tls_cert: str | None, tls_key: str | None) -> None:
    """Raises InvalidValue when keys would cross a network in the clear, or a TLS file is missing."""
    if (tls_cert is None) != (tls_key is None):
        raise InvalidValue("A certificate and its key belong together.", param="tls_key" if tls_cert else "tls_cert")
    for name, path in (("tls_cert", tls_cert), ("tls_key", tls_key)):
        if path is not None and not Path(path).is_file():
            raise InvalidValue(f"There is no file {path}.", param=name)
    if not is_loopback(settings.host) and tls_cert is None and not insecure_http:
        raise InvalidValue(
            f"{settings.host} can be reached by others, and without TLS they can read keys and texts.",
            param="host",
            hint="Give --tls-cert and --tls-key, or --insecure-http behind a proxy that does TLS.",
        )


def serve(
    settings: Settings,
    *,
    preload: Sequence[str] = (),
    insecure_http: bool = False,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    say: Callable[[str], None] | None = None,
) -> None:
    """Serves until a signal. Engines run in processes of their own. `say` gets sentences for a person; default: stderr."""
    from llmos.engine.pool import Pool
    from llmos.infra import logs
    from llmos.library.library import Library
    from llmos.plugins import load_plugins
    from llmos.server.app import create_app

    check_address(settings, insecure_http=insecure_http, tls_cert=tls_cert, tls_key=tls_key)
    logs.configure(settings)
    log = logs.get_logger("llmos.server")
    tell: Callable[..., Any] = say or log.info
    load_plugins()
    library = Library(settings)  # the gate writes the audit log
    pool = Pool(settings, library, inline=False, notify=tell)
    try:
        app = create_app(settings, pool)
        for name in preload:
            pool.session(name, keep_alive_s=-1)
        server = make_server(
            app,
            settings,
            tls_cert=tls_cert,
            tls_key=tls_key,
            on_ready=lambda url: tell(f"LLMOS listens on {url} (OpenAI base URL {url}/v1)"),
        )
        server.run()
    finally:
        pool.close()
