"""Batch inputs and answerers for these tests: no model, the answer follows from the item."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from llmos.engine.batch.base import Counts, Item, Outcome
from llmos.errors import InvalidValue, LLMOSError
from llmos.types import Usage

CHAT = "/v1/chat/completions"


def request(name: str, text: str = "Hi", *, system: str = "", **body: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    return {"custom_id": name, "method": "POST", "url": CHAT, "body": {"model": "fake", "messages": messages, **body}}


def write(path: Path, lines: Iterable[Any]) -> Path:
    """Texts as they are, everything else as JSON."""
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Echo:
    """Answers with the last message. `asked`: custom_ids in the order of asking. Items named bad-… fail."""

    def __init__(self, *, pause_s: float = 0.0) -> None:
        self.asked: list[str] = []
        self.now = self.most = 0
        self.pause_s = pause_s
        self.warmed: list[str] = []

    async def answer(self, item: Item, warm: Callable[[], None] | None) -> Outcome:
        self.asked.append(item.custom_id)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.pause_s)
            if item.custom_id.startswith("bad"):
                raise InvalidValue("It is bad.", param="messages")
            if warm is not None:
                self.warmed.append(item.custom_id)
                warm()
            return Outcome(
                status=200, body={"text": item.body["messages"][-1]["content"]}, usage=Usage(prompt_tokens=2, completion_tokens=1)
            )
        finally:
            self.now -= 1

    def refusal(self, error: Exception) -> Outcome:
        status = error.http_status if isinstance(error, LLMOSError) else 500
        return Outcome(status=status, body={"error": {"message": str(error)}})


class StopAfter:
    """A Control that ends the run once so many items are done."""

    def __init__(self, most: int, error: BaseException) -> None:
        self.most, self.error = most, error
        self.reports: list[int] = []
        self.done: Callable[[], int] = lambda: 0

    def step(self) -> None:
        if self.done() >= self.most:
            raise self.error

    def report(self, counts: Counts) -> None:
        self.reports.append(counts.done)


def names(lines: Sequence[dict[str, Any]]) -> list[str]:
    return [line["custom_id"] for line in lines]
