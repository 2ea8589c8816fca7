"""Requests whose bytes were damaged, against the server's whole application over doubles: an answer below 500, always.

tests/server/test_bad_requests.py does the same with bodies that are JSON but wrong; here they mostly are none.
"""

from __future__ import annotations

import asyncio
import json
from functools import cache
from pathlib import Path

import httpx

from llmos.engine.pool import Pool
from llmos.errors import InvalidValue
from llmos.server.app import create_app
from llmos.settings import Settings
from tests.doubles import fake_cards
from tests.server.live import ServedLibrary
from tests.server.test_bad_requests import GOOD

BODIES = tuple(f"{path}\n{json.dumps(body)}".encode() for path, body in GOOD.items())


@cache
def _transport(folder: Path) -> httpx.ASGITransport:
    settings = Settings.from_env({"LLMOS_HOME": str(folder), "LLMOS_DEFAULT_MODEL": "fake", "LLMOS_NUM_THREADS": "1"})
    return httpx.ASGITransport(
        create_app(settings, Pool(settings, ServedLibrary(folder / "fake-model", fake_cards()), inline=True))
    )


async def _post(transport: httpx.ASGITransport, path: str, body: bytes) -> httpx.Response:
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.post(path, content=body, headers={"content-type": "application/json"})


def body(path: Path) -> None:
    """First line: the route, when it still is one. Raises InvalidValue for an answer of 400 to 499."""
    route, _, sent = path.read_bytes().partition(b"\n")
    known = next((good for good in GOOD if good.encode() == route), "/v1/chat/completions")
    status = asyncio.run(_post(_transport(path.parent), known, sent)).status_code
    assert status < 500, f"{known} answers {status}"
    if status >= 400:
        raise InvalidValue(f"{known} answers {status}.")
