"""A server that is not there, or goes away in the middle of an answer, is told as an error of LLMOS whatever was asked of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmos.errors import Unreachable
from llmos.sdk.http import HTTPTransport
from llmos.settings import Settings

HALF = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{}\n\r\n"


@pytest.fixture
def breaking() -> Iterator[str]:
    """The address of a server that sends half an answer and goes."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            while True:
                try:
                    connection, _ = door.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(HALF)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}"


def transport(url: str, home: Path) -> HTTPTransport:
    return HTTPTransport(url, None, Settings.from_env({"LLMOS_HOME": str(home)}), lambda _: None)


STREAMS: list[Callable[[HTTPTransport], Any]] = [
    lambda one: list(one.annotations.text("mood", "rows")),
    lambda one: list(one.data.jsonl("mails", ids=True)),
    lambda one: one.data.page("mails"),
]


@pytest.mark.parametrize("call", STREAMS)
def test_an_answer_that_ends_too_early_is_an_error(breaking: str, tmp_path: Path, call: Callable[[HTTPTransport], Any]) -> None:
    with pytest.raises(Unreachable, match=breaking):
        call(transport(breaking, tmp_path))


@pytest.mark.parametrize("call", [*STREAMS, lambda one: one.annotations.add_file("mood", Path(__file__), None, {}, "import")])
def test_no_server_is_an_error(tmp_path: Path, call: Callable[[HTTPTransport], Any]) -> None:
    with pytest.raises(Unreachable, match="llmos serve"):
        call(transport("http://127.0.0.1:9", tmp_path))
