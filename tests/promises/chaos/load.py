"""The load of the chaos test: people who chat, jobs, batches. Each keeps what was acknowledged to it in the ledger, and asks again when
no answer came, as a careful client does.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from tests.promises.service import Service

MODEL = "smollm2-135m-instruct"
ASK_AGAIN_S = 0.3
PATIENCE_S = 180.0  # how long one order is repeated before the service counts as gone
# What a request may be answered with while things die around it: done, not now, its engine died.
FAIR = {200, 429, 503}


@dataclass
class Ledger:
    """What was acknowledged. jobs: ids; keys: idempotency key -> id; batches: id -> custom ids; chats: status -> number. Thread-safe
    enough: one writer a field and key."""

    jobs: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    batches: dict[str, list[str]] = field(default_factory=dict)
    chats: Counter[int] = field(default_factory=Counter)
    broken: int = 0  # chats whose connection broke
    slowest_chat_s: float = 0.0
    complaints: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Something of each kind of work was acknowledged."""
        return bool(self.jobs and self.batches and self.chats[200])


class Load:
    """Threads that work until `stop`. num_chats: people who chat at once; batch_items: requests of each batch."""

    def __init__(self, service: Service, rng: Random, *, num_chats: int = 2, batch_items: int = 12) -> None:
        self.service, self.ledger = service, Ledger()
        self.stop = threading.Event()
        self._batch_items = batch_items
        work: list[tuple[str, Callable[[httpx.Client, Random], None]]] = [("jobs", self._job), ("batches", self._batch)]
        work += [(f"chat-{number}", self._chat) for number in range(num_chats)]
        seeds = {name: rng.randrange(2**32) for name, _ in work}
        self._threads = [
            threading.Thread(target=self._run, args=(task, Random(seeds[name])), name=name, daemon=True) for name, task in work
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Once some of each kind of work was acknowledged nothing new is begun; what was begun is asked to its end."""
        until = time.monotonic() + PATIENCE_S
        while not self.ledger.complete and not self.ledger.complaints and time.monotonic() < until:
            time.sleep(ASK_AGAIN_S)
        self.stop.set()
        for thread in self._threads:
            thread.join(timeout=PATIENCE_S)
            if thread.is_alive():
                self.ledger.complaints.append(f"{thread.name} hangs")

    def _run(self, task: Callable[[httpx.Client, Random], None], rng: Random) -> None:
        with self.service.client(timeout=60) as client:
            while not self.stop.is_set():
                try:
                    task(client, rng)
                except Exception as problem:
                    self.ledger.complaints.append(f"{threading.current_thread().name}: {problem!r}")
                    return

    def until_acknowledged(self, ask: Callable[[], httpx.Response]) -> dict[str, Any]:
        """Repeats an order until it is acknowledged."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                answer = ask()
            except httpx.HTTPError:
                time.sleep(ASK_AGAIN_S)
                continue
            if answer.status_code == 200:
                found: dict[str, Any] = answer.json()
                return found
            if answer.status_code not in FAIR | {507}:
                raise AssertionError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:300]}")
            time.sleep(ASK_AGAIN_S)
        raise AssertionError("the service did not come back")

    # -- tasks -----------------------------------------------------------------------------------------------------------
    def _chat(self, client: httpx.Client, rng: Random) -> None:
        body = {"model": MODEL, "messages": [{"role": "user", "content": f"Say a number: {rng.randrange(100)}"}], "max_tokens": 12}
        begin = time.monotonic()
        try:
            answer = client.post("/v1/chat/completions", json=body)
        except httpx.HTTPError:
            self.ledger.broken += 1
            time.sleep(ASK_AGAIN_S)
            return
        self.ledger.chats[answer.status_code] += 1
        self.ledger.slowest_chat_s = max(self.ledger.slowest_chat_s, time.monotonic() - begin)
        if answer.status_code not in FAIR:
            self.ledger.complaints.append(f"chat: {answer.status_code} {answer.text[:300]}")
        elif answer.status_code != 200:
            assert answer.json()["error"]["code"] in ("engine_died", "over_capacity", "rate_limit_exceeded"), answer.text
            time.sleep(ASK_AGAIN_S)

    def _job(self, client: httpx.Client, rng: Random) -> None:
        key = f"chaos-{len(self.ledger.keys)}"
        params = {"steps": rng.randrange(5, 60), "step_s": rng.uniform(0.005, 0.05), "save_every": rng.randrange(1, 10)}
        body = {"kind": "promise-steps", "params": params, "labels": {"key": key}}
        job = self.until_acknowledged(lambda: client.post("/api/v1/jobs", json=body, headers={"Idempotency-Key": key}))
        self.ledger.keys[key] = job["id"]
        self.ledger.jobs.append(job["id"])
        action = rng.choices(["", "cancel", "pause"], [8, 1, 1])[0]
        if action:
            self._steer(client, job["id"], action, rng)
        time.sleep(rng.uniform(0.05, 0.4))

    def _steer(self, client: httpx.Client, job_id: str, action: str, rng: Random) -> None:
        """Cancel, or pause and resume. A job that is over by then says 409."""
        time.sleep(rng.uniform(0, 0.5))
        for verb in ("cancel",) if action == "cancel" else ("pause", "resume"):
            until = time.monotonic() + PATIENCE_S
            while time.monotonic() < until:
                try:
                    if client.post(f"/api/v1/jobs/{job_id}/{verb}").status_code in (200, 409):
                        break
                except httpx.HTTPError:
                    pass
                time.sleep(ASK_AGAIN_S)

    def _batch(self, client: httpx.Client, rng: Random) -> None:
        number = len(self.ledger.batches)
        names = [f"b{number}-{place}" for place in range(self._batch_items)]
        lines = [json.dumps(_request(name, rng)) for name in names]
        content = "\n".join(lines).encode()
        files = {"file": (f"{number}.jsonl", content)}
        file_id = self.until_acknowledged(lambda: client.post("/v1/files", files=files, data={"purpose": "batch"}))["id"]
        order = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = self.until_acknowledged(lambda: client.post("/v1/batches", json=order))
        self.ledger.batches[batch["id"]] = names
        while not self.stop.wait(1.0):
            if self.until_acknowledged(lambda: client.get(f"/v1/batches/{batch['id']}"))["status"] in ("completed", "failed"):
                return


def _request(name: str, rng: Random) -> dict[str, Any]:
    """One in ten is refused by the model's rules, so that the error file has lines too."""
    tokens = 0 if rng.random() < 0.1 else rng.randrange(1, 16)
    messages = [
        {"role": "system", "content": "You count."},
        {"role": "user", "content": f"What comes after {rng.randrange(1000)}?"},
    ]
    body = {"model": MODEL, "messages": messages, "max_tokens": tokens}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
