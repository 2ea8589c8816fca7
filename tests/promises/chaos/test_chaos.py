"""Chaos: a live service with a real model, under load, whose processes die at random. Afterwards the history of every job and of every
batch item must be as if nothing had happened: acknowledged = present, one final record, one result line an item.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from llmos.infra.database import Database
from llmos.library.library import Library
from llmos.settings import Settings
from tests.infra import postgres
from tests.promises import history
from tests.promises.chaos.killer import Killer, left_over
from tests.promises.chaos.load import MODEL, Ledger, Load
from tests.promises.levels import quick_or_full, seeded
from tests.promises.service import Service

SECONDS = quick_or_full(30, 600)
EVERY_S = (1.0, 4.0)
SETTLE_S = quick_or_full(180, 600)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + SETTLE_S + 600)]
Record = Callable[[str, object], None]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'home' / 'db.sqlite3'}"
        return
    if postgres.binaries() is None:
        pytest.skip("no PostgreSQL server is installed (apt-get install postgresql)")
    with postgres.server() as url:
        yield url


@pytest.fixture
def service(database_url: str, asset: Callable[[str], Path], tmp_path: Path) -> Iterator[Service]:
    home = tmp_path / "home"
    own = {} if database_url.startswith("sqlite") else {"LLMOS_DATABASE_URL": database_url}
    library = Library.open(Settings.from_env({"LLMOS_HOME": str(home), "HF_HOME": str(tmp_path / "hf"), **own}))
    library.import_path(next(asset("smollm2").glob("*.gguf")), name=MODEL)
    library.database.close()
    service = Service(home, env=own)
    try:
        service.start()
        with service.client(timeout=300) as client:  # the first load converts the model; the kills begin after it
            warm = {"model": MODEL, "prompt": "Hello", "max_tokens": 1}
            assert client.post("/v1/completions", json=warm).status_code == 200
        yield service
    finally:
        service.end()


def test_random_kills_under_load(service: Service, database_url: str, record_property: Record) -> None:
    rng = seeded("chaos")
    killer = Killer(service, rng, database_url=None if database_url.startswith("sqlite") else database_url)
    load = Load(service, rng)
    load.start()
    killer.run(SECONDS, every_s=EVERY_S)
    load.finish()  # it goes on until each kind of work was done at least once
    try:
        found = _settled(service, database_url, load.ledger)
        assert load.ledger.complaints == []
        assert found == []
        assert set(killer.kills) == set(killer.victims), killer.kills
        assert load.ledger.complete
    finally:
        print(f"kills {dict(killer.kills)}; {_told(load.ledger)}")
    service.end()
    assert left_over(service) == []
    kills = ", ".join(f"{number} {name}" for name, number in sorted(killer.kills.items()))
    record_property("figure", f"{SECONDS} s, kills: {kills}; {_told(load.ledger)}; none lost, none twice")


def _told(ledger: Ledger) -> str:
    items = sum(map(len, ledger.batches.values()))
    work = f"{len(ledger.jobs)} jobs, {items} items in {len(ledger.batches)} batches"
    chats = f"chats {dict(ledger.chats)}, the slowest {ledger.slowest_chat_s:.1f} s, {ledger.broken} broken connections"
    return f"{work}, {chats}"


def _settled(service: Service, database_url: str, ledger: Ledger) -> list[str]:
    """What is wrong with the histories once everything has ended."""
    database = Database(database_url)
    batches = [f"job_{name.removeprefix('batch_')}" for name in ledger.batches]
    until = time.monotonic() + SETTLE_S
    try:
        while True:
            jobs = history.read(database)
            if all(job.state in ("succeeded", "failed", "cancelled") for job in jobs.values()) or time.monotonic() > until:
                break
            time.sleep(1)
        found = history.problems(jobs, [*ledger.jobs, *batches])
    finally:
        database.close()
    found += _of_keys(jobs, ledger)
    found += [f"{job.id} failed: {job.events[-1].data}" for job in jobs.values() if job.state == "failed" and not _given_up(job)]
    with service.client() as client:
        for name, asked in ledger.batches.items():
            found += _of_batch(client, name, asked, jobs[f"job_{name.removeprefix('batch_')}"])
    return found


def _given_up(job: history.History) -> bool:
    """A dead letter: killed several times in a row without having saved anything between, and its error says so."""
    error: dict[str, str] = job.events[-1].data.get("error", {})
    return error.get("code") == "lost" and "3 attempts in a row" in error.get("message", "")


def _of_keys(jobs: dict[str, history.History], ledger: Ledger) -> list[str]:
    counted = len([job for job in jobs.values() if job.kind == "promise-steps"])
    asked = len(ledger.keys)  # and at most one whose acknowledgement never came
    return [] if asked <= counted <= asked + 1 else [f"{asked} idempotency keys made {counted} jobs"]


def _of_batch(client: httpx.Client, name: str, asked: list[str], job: history.History) -> list[str]:
    batch = client.get(f"/v1/batches/{name}").json()
    if job.state == "failed":
        return []  # a dead letter; judged above
    if batch["status"] != "completed":
        return [f"{name} is {batch['status']}"]
    texts = {what: _text(client, batch[f"{what}_file_id"]) for what in ("output", "error")}
    found = [f"{name}: {problem}" for problem in history.batch_problems(asked, texts["output"], texts["error"])]
    answered = sum(json.loads(line)["response"]["status_code"] == 200 for line in texts["output"].splitlines())
    counts = batch["request_counts"]
    if (counts["total"], counts["completed"]) != (len(asked), answered):
        found.append(f"{name} says {counts}; {answered} of {len(asked)} were answered")
    return found


def _text(client: httpx.Client, file_id: str | None) -> str:
    return "" if file_id is None else client.get(f"/v1/files/{file_id}/content").text
