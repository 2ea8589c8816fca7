"""What an annotator was told is saved outlives a SIGKILL of the server: no save lost, none twice, reservations and undo intact."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from llmos.data.annotate.base import HistoryEntry
from llmos.data.annotate.service import Annotations
from llmos.infra.database import Database
from tests.promises.levels import quick_or_full

BASE = "/api/v1/annotations"
PEOPLE = ("ann", "bob", "cat")


@contextmanager
def server(home: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"LLMOS_HOME": str(home), "HF_HOME": str(home / "hf"), "LLMOS_PROBE": "0"}
    command = [sys.executable, "-m", "llmos", "serve", "--port", str(port)]
    with subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    if httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200:
                        break
                except httpx.HTTPError:
                    time.sleep(0.1)
            yield url, process
        finally:
            process.kill()


def annotate(url: str, ref: str, who: str, told: dict[tuple[int, str], str], broken: threading.Event) -> None:
    """Saves until the server is gone; what was acknowledged is in `told`."""
    labels = random.Random(who)
    with httpx.Client(base_url=url, timeout=20, trust_env=False) as client:
        try:
            while not broken.is_set():
                for one in client.post(f"{BASE}/{ref}/next", json={"count": 3, "annotator": who}).json()["items"]:
                    label = labels.choice(["good", "bad"])
                    body = {"value": {"label": label}, "annotator": who}
                    answer = client.put(f"{BASE}/{ref}/items/{one['item']}/annotation", json=body)
                    assert answer.status_code == 200, answer.text
                    told[one["item"], who] = label
        except httpx.HTTPError:
            broken.set()


@pytest.mark.slow
def test_an_acknowledged_save_is_never_lost(tmp_path: Path) -> None:
    told: dict[tuple[int, str], str] = {}
    seed = random.Random(20261122)
    with server(tmp_path) as (url, _), httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        config = {"labels": ["good", "bad"], "overlap": 2}
        ref = client.post(BASE, json={"name": "kill", "task": "classification", "config": config}).json()["id"]
        rows = [{"text": f"text {number}"} for number in range(2000)]
        assert client.post(f"{BASE}/{ref}/items", json={"items": rows}).json()["num_added"] == 2000
    for _ in range(quick_or_full(2, 25)):
        with server(tmp_path) as (url, process):
            broken = threading.Event()
            threads = [threading.Thread(target=annotate, args=(url, ref, who, told, broken)) for who in PEOPLE]
            for thread in threads:
                thread.start()
            time.sleep(0.5 + seed.random())
            process.send_signal(signal.SIGKILL)
            for thread in threads:
                thread.join()
            assert broken.is_set()
    assert len(told) > 10
    database = Database(f"sqlite:///{tmp_path / 'db.sqlite3'}")
    notes = Annotations(database)
    found = {
        (one.item, given.annotator): given
        for one in notes.items.all(notes.get(ref))
        for given in one.annotations
    }  # fmt: skip
    for place, label in told.items():
        value = found[place].value
        assert value == {"label": label} and found[place].version == 1, place
    assert len(found) - len(told) <= len(PEOPLE) * quick_or_full(2, 25)  # saved, and killed before it was said
    told_history = [(one.item, one.annotator) for one in _history(notes, ref)]
    assert sorted(told_history) == sorted(found)  # each has exactly one line
    for item in notes.items.all(notes.get(ref)):
        assert item.num_annotations == len(item.annotations) <= 2
    database.close()


def _history(notes: Annotations, ref: str) -> list[HistoryEntry]:
    found: list[HistoryEntry] = []
    after = 0
    while page := notes.history(ref, after=after, limit=500):
        found += page
        after = page[-1].number
    return found
