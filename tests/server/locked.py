"""A live server over doubles with keys of several projects, for the tests of access."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from llmos.access.base import Quotas
from llmos.engine.pool import Pool
from llmos.server.limits import Limits
from llmos.settings import Settings
from tests.doubles import fake_cards
from tests.server.live import Live, ServedLibrary, live

ADMIN = "the configured key"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@dataclass(frozen=True)
class Locked:
    running: Live
    library: ServedLibrary

    @property
    def client(self) -> httpx.Client:
        return self.running.client

    def ask(self, method: str, path: str, key: str = ADMIN, **more: Any) -> httpx.Response:
        return self.client.request(method, path, headers=bearer(key) | more.pop("headers", {}), **more)

    def key(self, name: str, *, scopes: tuple[str, ...] = ("inference",), project: str = "default", **quotas: int) -> str:
        """A new key, made through the server."""
        body = {"name": name, "scopes": list(scopes), "project": project, "quotas": quotas}
        answer = self.ask("POST", "/api/v1/keys", json=body)
        assert answer.status_code == 200, answer.text
        assert Quotas(**answer.json()["quotas"]) == Quotas(**quotas)
        return str(answer.json()["key"])

    def state_is_written(self) -> None:
        """Waits until what the server keeps in memory for a moment is on disk."""
        self.running.state.access.write(all_of_it=True)

    def audited(self, **query: Any) -> list[dict[str, Any]]:
        return list(self.ask("GET", "/api/v1/audit", params=query).json()["rows"])


@contextmanager
def locked(folder: Path, *, limits: Limits | None = None, **env: str) -> Iterator[Locked]:
    """LLMOS_API_KEY is ADMIN, unless `env` says otherwise."""
    given = {"LLMOS_HOME": str(folder), "LLMOS_API_KEY": ADMIN, "LLMOS_NUM_THREADS": "2", "HF_HOME": str(folder / "hf")}
    settings = Settings.from_env(given | env)
    library = ServedLibrary(folder / "fake-model", fake_cards())
    pool = Pool(settings, library, inline=True)
    with live(settings, pool, limits=limits) as running:
        yield Locked(running, library)
