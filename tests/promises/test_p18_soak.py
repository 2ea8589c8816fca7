"""P18: hours of mixed work leave no trace: memory, descriptors and threads stay flat.

Quick runs little more than a minute, in which the noise of an allocator is larger than the promised slope; it bounds the growth of the
second half, which any real leak a request passes. Full runs an hour and asserts the slope.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.load import ask

from tests.promises.fakes import FakeService, Footprint
from tests.promises.levels import level, quick_or_full, seeded

SOAK_S = quick_or_full(75.0, 3600.0)
WARM_S = quick_or_full(30.0, 300.0)
CLIENTS = 6
SAMPLE_S = quick_or_full(2.0, 15.0)
MAX_GROWTH_BYTES = 12 * 2**20  # in quick's second half
MAX_SLOPE_BYTES_PER_HOUR = 2**20

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
WORK: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("/v1/chat/completions", {**CHAT, "model": "fake", "stream": True}, 200),
    ("/v1/chat/completions", {**CHAT, "model": "fake"}, 200),
    ("/v1/chat/completions", {**CHAT, "model": "fake-tools"}, 200),
    ("/v1/completions", {"model": "fake-steady", "prompt": ["a", "b"], "max_tokens": 3}, 200),
    ("/v1/embeddings", {"model": "fake-encoder", "input": ["one", "two"]}, 200),
    ("/v1/messages", {**CHAT, "model": "fake"}, 200),
    ("/v1/chat/completions", {**CHAT, "model": "fake", "temperature": 99}, 400),
    ("/v1/chat/completions", {**CHAT, "model": "unknown"}, 404),
    ("/v1/completions", {"model": "fake-fail", "prompt": "fail"}, 500),
)


async def _leave(port: int) -> None:
    """A client that goes away in the middle of its answer."""
    task = asyncio.create_task(ask(port, {**CHAT, "model": "fake-steady", "max_tokens": 400, "stream": True}))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])


async def _client(port: int, end: float, draw: random.Random, seen: Counter[tuple[int, int]]) -> None:
    while time.monotonic() < end:
        if draw.random() < 0.1:
            await _leave(port)
            continue
        path, body, expected = draw.choice(WORK)
        reply = await ask(port, body, path=path)
        seen[expected, reply.status] += 1


async def _soak(service: FakeService, draw: random.Random) -> tuple[list[tuple[float, Footprint]], Counter[tuple[int, int]]]:
    begin, seen = time.monotonic(), Counter[tuple[int, int]]()
    clients = [
        asyncio.create_task(_client(service.port, begin + SOAK_S, random.Random(draw.random()), seen)) for _ in range(CLIENTS)
    ]
    samples = []
    while (passed := time.monotonic() - begin) < SOAK_S:
        await asyncio.sleep(SAMPLE_S)
        if passed > WARM_S:
            samples.append((passed, await asyncio.to_thread(service.footprint)))
    await asyncio.gather(*clients)
    return samples, seen


def halves(values: list[float]) -> tuple[float, float]:
    """Medians of the first and of the second half."""
    middle = len(values) // 2
    return statistics.median(values[:middle]), statistics.median(values[middle:])


@pytest.mark.timeout(7200)
def test_mixed_work_leaves_no_trace(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    with FakeService(tmp_path / "home", limits={"slots": 8}) as service:
        samples, seen = asyncio.run(_soak(service, seeded("P18")))
    assert all(expected == status for expected, status in seen), seen
    assert len(seen) == len({expected for _, _, expected in WORK})
    memory = [float(one.rss_bytes) for _, one in samples]
    files, threads = halves([one.num_files for _, one in samples]), halves([one.num_threads for _, one in samples])
    slope = statistics.linear_regression([passed for passed, _ in samples], memory).slope * 3600
    growth = halves(memory)[1] - halves(memory)[0]
    figure = (
        f"{seen.total()} requests in {SOAK_S:.0f} s: RSS {memory[-1] / 2**20:.0f} MB, {slope / 2**20:+.1f} MB/h; descriptors "
        f"{files[0]:.0f} -> {files[1]:.0f}, threads {threads[0]:.0f} -> {threads[1]:.0f}"
    )
    print(figure)
    record_property("figure", figure)
    assert files[1] <= files[0] + CLIENTS  # those of requests in flight
    assert threads[1] <= threads[0] + CLIENTS + 2
    assert growth < MAX_GROWTH_BYTES
    if level() == "full":
        assert slope < MAX_SLOPE_BYTES_PER_HOUR
