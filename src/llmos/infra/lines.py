"""An answer that comes line by line (server-sent events of a remote engine) and that any thread can end at once.

A reader may be blocked in the socket when another thread cancels; closing a descriptor would not wake it, shutting the
socket down does.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Generator, Iterator

import httpx

from llmos.errors import SourceError
from llmos.infra.address import shown
from llmos.infra.connect import network_errors

MAX_LINE_BYTES = 4 << 20


class LineStream(Iterator[str]):
    """Lines without their ends, as UTF-8. One thread iterates; any may close. After `close` the iteration just ends."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._url = response.request.url
        self._closed = False
        self._lines = self._read()
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    def __next__(self) -> str:
        try:
            return next(self._lines)
        except StopIteration:
            self._response.close()
            raise
        except Exception:
            self._response.close()
            if self._closed:
                raise StopIteration from None
            raise

    def __enter__(self) -> LineStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the answer, a reader blocked on it included; the server sees the connection go."""
        if self._closed:
            return
        self._closed = True
        stream = self._response.extensions.get("network_stream")
        line = stream.get_extra_info("socket") if stream is not None else None
        if line is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(line, socket.SHUT_RDWR)  # not SSLSocket's: that one would confuse a reader under way
        with contextlib.suppress(ValueError):  # a reader is at it; it was just woken and closes the answer itself
            self._lines.close()
            self._response.close()

    def _read(self) -> Generator[str, None, None]:
        rest = b""
        with network_errors(self._url):
            for piece in self._response.iter_bytes():
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    yield line.removesuffix(b"\r").decode(errors="replace")
                if len(rest) > MAX_LINE_BYTES:
                    raise SourceError(f"{shown(self._url)} sends a line of more than {MAX_LINE_BYTES:,} bytes; that is not read.")
        if rest:
            yield rest.removesuffix(b"\r").decode(errors="replace")
