"""P13: one key that floods does not double what another key waits.

Quick asserts the median, which noise on shared cores does not double; full the 95th percentile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.load import Reply, closed_loop, open_loop, percentile

from llmos.access.keys import Keys
from llmos.access.secret import Secret
from llmos.infra.database import open_database
from llmos.settings import Settings
from tests.promises.fakes import FakeService
from tests.promises.fakes_main import STEP_S
from tests.promises.levels import level, quick_or_full

SLOTS, TOKENS = 4, 80
CAPACITY = SLOTS / (STEP_S * TOKENS)


def body(number: int) -> dict[str, Any]:
    return {
        "model": "fake-steady",
        "messages": [{"role": "user", "content": f"Request number {number}."}],
        "max_tokens": TOKENS,
        "stream": True,
    }


def two_keys(home: Path) -> tuple[str, str]:
    settings = Settings.from_env({"LLMOS_HOME": str(home)})
    database = open_database(settings)
    try:
        keys = Keys(database, Secret.of(settings))
        return keys.create("flood")[1], keys.create("polite")[1]
    finally:
        database.close()


async def _measure(port: int, flooding: str, polite: str) -> tuple[list[Reply], list[Reply], list[Reply]]:
    await closed_loop(port, body, clients=1, seconds=1, key=polite)
    alone = await closed_loop(port, body, clients=1, seconds=quick_or_full(8.0, 60.0), key=polite)
    flood = asyncio.create_task(open_loop(port, body, rate=10 * CAPACITY, seconds=quick_or_full(26.0, 80.0), key=flooding))
    await asyncio.sleep(8)  # until the flood has its slots and its queue
    beside = await closed_loop(port, body, clients=1, seconds=quick_or_full(14.0, 60.0), key=polite)
    return alone, beside, await flood


def test_a_flood_does_not_double_the_wait_of_another_key(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    flooding, polite = two_keys(tmp_path / "home")
    with FakeService(tmp_path / "home", limits={"slots": SLOTS}) as service:
        alone, beside, flood = asyncio.run(_measure(service.port, flooding, polite))
    assert all(one.status == 200 and one.whole for one in [*alone, *beside])
    assert sum(one.refused for one in flood) > len(flood) / 2
    assert any(one.status == 429 for one in flood)  # its own share while the other is there, not the server's
    before, after = (percentile([one.total_s for one in some], 0.95) for some in (alone, beside))
    figure = f"p95 {before:.2f} s alone, {after:.2f} s beside a flood of {10 * CAPACITY:.0f} requests/s"
    print(figure)
    record_property("figure", figure)
    assert percentile([one.total_s for one in beside], 0.5) < 2 * percentile([one.total_s for one in alone], 0.5)
    if level() == "full":
        assert after < 2 * before
