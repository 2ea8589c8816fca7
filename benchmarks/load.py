"""A client of many: sends chat requests to a server over raw sockets, in a closed loop or at a rate, and notes what came back when.

    closed_loop   so many clients, each sends its next request when the last is answered: what a server does at its capacity
    open_loop     requests come at random at a rate, whatever the server does: what an overload is

It spends little on a request (no HTTP library, one task a request), so that on a small machine the server is measured and not it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Body = Callable[[int], dict[str, Any]]
"""The n-th request."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """status: 0 when the connection broke. first_s: from sending to the first text of a stream. at: when it was sent."""

    at: float
    status: int = 0
    first_s: float | None = None
    total_s: float = 0.0
    num_events: int = 0
    whole: bool = False
    retry_after_s: float | None = None
    code: str = ""

    @property
    def refused(self) -> bool:
        return self.status in (429, 503)


async def ask(port: int, body: dict[str, Any], *, key: str = "", path: str = "/v1/chat/completions") -> Reply:
    """One request on a connection of its own."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    head += f"Content-Length: {len(data)}\r\n" + (f"Authorization: Bearer {key}\r\n" if key else "")
    reply = Reply(at=time.monotonic())
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head.encode() + b"\r\n" + data)
            await _read(reader, reply)
        finally:
            writer.close()
    reply.total_s = time.monotonic() - reply.at
    return reply


async def _read(reader: asyncio.StreamReader, reply: Reply) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    reply.status = int(head.split(" ", 2)[1])
    for line in head.split("\r\n"):
        if line.startswith("retry-after:"):
            reply.retry_after_s = float(line.partition(":")[2])
    received = b""
    while data := await reader.read(1 << 16):
        if reply.first_s is None and reply.status == 200:
            reply.first_s = time.monotonic() - reply.at
        reply.num_events += data.count(b"data: ")
        received = (received + data)[-4096:]
    reply.whole = b"[DONE]" in received
    if reply.status >= 400:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            reply.code = json.loads(received[received.index(b"{") : received.rindex(b"}") + 1])["error"]["code"]


async def closed_loop(port: int, body: Body, *, clients: int, seconds: float, key: str = "") -> list[Reply]:
    """In the order of their ends."""
    replies: list[Reply] = []
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        turn = 0
        while time.monotonic() < end:
            replies.append(await ask(port, body(number + clients * turn), key=key))
            turn += 1

    await asyncio.gather(*(client(number) for number in range(clients)))
    return replies


async def open_loop(port: int, body: Body, *, rate: float, seconds: float, key: str = "", seed: int = 20261122) -> list[Reply]:
    """Poisson arrivals; returns when all are answered. In the order of their sending."""
    draw, tasks = random.Random(seed), list[asyncio.Task[Reply]]()
    begin, due = time.monotonic(), 0.0
    while (due := due + draw.expovariate(rate)) < seconds:
        await asyncio.sleep(max(0.0, begin + due - time.monotonic()))
        tasks.append(asyncio.create_task(ask(port, body(len(tasks)), key=key)))
    return list(await asyncio.gather(*tasks))


def percentile(values: Sequence[float], share: float) -> float:
    """By the nearest rank; nan of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def resident_bytes(pids: Sequence[int]) -> int:
    """Of these processes together, without what several of them share being counted once: an upper bound."""
    import os

    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total
