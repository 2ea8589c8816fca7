"""A live server whose models are doubles in a library on disk, so that the child process of a job finds them as the server does."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from llmos.engine.pool import Pool
from llmos.library.base import ModelCard, ModelFile
from llmos.library.library import Library
from llmos.library.rows import ModelRows
from llmos.settings import Settings
from tests.doubles import make_model
from tests.server.live import Live, live

OVER = ("completed", "failed", "expired", "cancelled")


def library_of(settings: Settings, folder: Path, cards: Sequence[ModelCard]) -> Library:
    """A real library with these models; all have the files that make_model writes."""
    library = Library(settings)
    source = make_model(folder)
    files = []
    for path in sorted(source.iterdir()):
        digest = library.store.blobs.add_file(path)
        files.append(ModelFile(path=path.name, sha256=digest, size_bytes=path.stat().st_size))
    for card in cards:
        whole = replace(
            card, files=tuple(files), version=hashlib.sha256(card.name.encode()).hexdigest(), created_at="2026-01-01T00:00:00+00:00"
        )
        library.store.publish(library.store.stage(files, card.name), whole.version, files)
        ModelRows(library.database).add(whole)
    return library


@contextmanager
def batch_server(home: Path, cards: Sequence[ModelCard], **env: str) -> Iterator[Live]:
    settings = Settings.from_env({"LLMOS_HOME": str(home), "LLMOS_NUM_THREADS": "2", "LLMOS_PROBE": "false", **env})
    library = library_of(settings, home / "fake-model", cards)
    with live(settings, Pool(settings, library, inline=True)) as running:
        yield running


def upload(client: httpx.Client, lines: Sequence[Any]) -> str:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    answer = client.post("/v1/files", files={"file": ("in.jsonl", text.encode())}, data={"purpose": "batch"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def begin(client: httpx.Client, lines: Sequence[Any], endpoint: str = "/v1/chat/completions", **more: Any) -> dict[str, Any]:
    body = {"input_file_id": upload(client, lines), "endpoint": endpoint, "completion_window": "24h", **more}
    answer = client.post("/v1/batches", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait(client: httpx.Client, batch: str, until: Sequence[str] = OVER, timeout_s: float = 90.0) -> dict[str, Any]:
    end = time.monotonic() + timeout_s
    while True:
        found: dict[str, Any] = client.get(f"/v1/batches/{batch}").json()
        if found["status"] in until:
            return found
        assert found["status"] not in OVER and time.monotonic() < end, found
        time.sleep(0.05)


def content(client: httpx.Client, file_id: str) -> list[dict[str, Any]]:
    answer = client.get(f"/v1/files/{file_id}/content")
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.content.splitlines()]
