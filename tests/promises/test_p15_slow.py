"""P15: headers that do not come are cut off in 10 s, bodies in 30 s with 408, and answers that nobody reads are cancelled in 30 s.

The sockets stand side by side, so all of them together take one limit's time, which is the product's own at both levels. The slack
is for a busy machine; full has little.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from llmos.server.limits import Limits
from tests.promises.fakes import FakeService, running, until
from tests.promises.levels import quick_or_full

NUM_SOCKETS = quick_or_full(50, 500)
NUM_UNREAD = 3  # each takes an engine slot
SLACK_S = quick_or_full(30.0, 5.0)
FILL_S = 60.0  # at most, until the network's buffers are full and reading is what is lacking
TORRENT = {"model": "fake-torrent", "prompt": "a", "max_tokens": 1_000_000, "stream": True, "logprobs": 5}


async def dripped(port: int, first: bytes, seconds: float) -> tuple[float, bytes]:
    """Sends the beginning, then a byte a second for a while (a byte that crosses the answer would reset the connection); what the
    server answered, and after how long it was the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    writer.write(first)

    async def drip() -> None:
        while time.monotonic() - began < seconds:
            await asyncio.sleep(1)
            writer.write(b"x")

    dripping = asyncio.create_task(drip())
    try:
        answer = await reader.read()
    except ConnectionResetError:
        answer = b""
    finally:
        dripping.cancel()
        writer.close()
    return time.monotonic() - began, answer


def unread(port: int) -> socket.socket:
    """Asks for an endless answer and does not read it."""
    data = json.dumps(TORRENT).encode()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    connection.sendall(head.encode() + data)
    return connection


async def _slow(port: int) -> tuple[list[tuple[float, bytes]], list[tuple[float, bytes]]]:
    half = (NUM_SOCKETS - NUM_UNREAD) // 2
    body = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
    headers = [dripped(port, b"POST /v1/completions HTTP/1.1\r\nHost: loc", 60) for _ in range(half)]
    bodies = [dripped(port, body, 20) for _ in range(half)]
    found = await asyncio.gather(*headers, *bodies)
    return list(found[:half]), list(found[half:])


@pytest.mark.timeout(7200)
def test_slow_sockets(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    limits = Limits()
    settings = {"LLMOS_CONTEXT_LENGTH": "2000000"}
    with FakeService(tmp_path / "home", env=settings) as service, service.client() as client, ExitStack() as connections:
        for _ in range(NUM_UNREAD):
            connections.enter_context(unread(service.port))
        until(lambda: running(client) == NUM_UNREAD)
        began = time.monotonic()
        headers, bodies = asyncio.run(_slow(service.port))
        until(lambda: running(client) == 0, timeout_s=limits.unread_s + FILL_S)
        unread_s = time.monotonic() - began
        assert client.get("/healthz").status_code == 200
    assert all(limits.header_s - 1 < took < limits.header_s + SLACK_S for took, _ in headers), headers
    assert all(limits.body_s - 1 < took < limits.body_s + SLACK_S for took, _ in bodies), [took for took, _ in bodies]
    assert all(answer.startswith(b"HTTP/1.1 408 ") for _, answer in bodies)
    slowest = max(took for took, _ in headers), max(took for took, _ in bodies)
    figure = f"{NUM_SOCKETS} sockets: headers {slowest[0]:.1f} s, bodies {slowest[1]:.1f} s, unread < {unread_s:.0f} s"
    print(figure)
    record_property("figure", figure)
