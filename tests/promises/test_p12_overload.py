"""P12: at ten times its capacity the server refuses the rest at once and honestly, and who is let in hardly feels it.

Quick: what can be counted, and the memory; the times are asserted at full level, on a machine that does nothing else.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.load import Reply, closed_loop, open_loop, percentile

from tests.promises.fakes import FakeService
from tests.promises.fakes_main import STEP_S
from tests.promises.levels import level, quick_or_full

SLOTS, TOKENS, QUEUE = 4, 40, 16
SERVICE_S = STEP_S * TOKENS
CAPACITY = SLOTS / SERVICE_S  # requests a second
OVERLOAD_S = quick_or_full(20.0, 300.0)
SETTLED_S = 6.0  # the queue that fills first is served after QUEUE / CAPACITY s
MAX_GROWTH_BYTES = 256 * 2**20


def body(number: int) -> dict[str, Any]:
    words = [{"role": "user", "content": f"Request number {number}."}]
    return {"model": "fake-steady", "messages": words, "max_tokens": TOKENS, "stream": True}


async def _measure(service: FakeService) -> tuple[list[Reply], list[Reply]]:
    await closed_loop(service.port, body, clients=1, seconds=1)  # loads the model
    calm = await closed_loop(service.port, body, clients=SLOTS, seconds=quick_or_full(4.0, 30.0))
    return calm, await open_loop(service.port, body, rate=10 * CAPACITY, seconds=OVERLOAD_S)


@pytest.mark.timeout(7200)
def test_ten_times_the_capacity(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    with FakeService(tmp_path / "home", limits={"slots": SLOTS, "queue": QUEUE}) as service:
        before = service.footprint()
        calm, flood = asyncio.run(_measure(service))
        growth_bytes = service.footprint().rss_bytes - before.rss_bytes
    served = [one for one in flood if one.status == 200]
    refused = [one for one in flood if one.refused]
    assert Counter(one.status for one in calm) == {200: len(calm)}
    assert len(served) + len(refused) == len(flood), Counter(one.status for one in flood)
    assert all(one.whole for one in served)
    assert 0.2 * CAPACITY * OVERLOAD_S < len(served) < 1.2 * CAPACITY * OVERLOAD_S + SLOTS + QUEUE
    assert all(one.retry_after_s is not None and 1 <= one.retry_after_s <= 60 for one in refused)
    assert growth_bytes < MAX_GROWTH_BYTES
    settled = [one.first_s for one in served if one.first_s is not None and one.at > flood[0].at + SETTLED_S]
    calm_p99 = percentile([one.first_s for one in calm if one.first_s is not None], 0.99)
    waits, refusals = percentile(settled, 0.99), [one.total_s for one in refused]
    figure = (
        f"{len(flood)} requests, refusals p99 {percentile(refusals, 0.99) * 1e3:.0f} ms, TTFT p99 {waits * 1e3:.0f} ms against "
        f"{calm_p99 * 1e3:.0f} ms at capacity, +{growth_bytes / 2**20:.0f} MB"
    )
    print(figure)
    record_property("figure", figure)
    assert percentile(refusals, 0.5) < 5  # a refusal waits for nobody
    if level() == "full":
        assert percentile(refusals, 0.99) < 0.05
        assert waits < 3 * calm_p99
