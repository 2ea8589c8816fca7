"""The contract of batch inference: what an item is, what answers it, and what a run tells and asks while it goes on.

    input file --plan--> order of work --run--> log of results --finish--> output file, error file
                (plan.py)             (runner.py)   (log.py)      (finish.py)

Everything a run knows is in one folder: `plan.sqlite3`, written whole or not at all, and `results.log`, which only grows. Whoever
is killed is followed by somebody who opens the same folder: items with a line in the log are done, the others are asked again.
Nothing here knows a route or a model: an Answerer turns the body of an item into an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from llmos.errors import InvalidValue
from llmos.types import Usage

MAX_LINE_BYTES = 8 << 20  # of one request, as over HTTP
MAX_PROBLEMS = 100  # lines that are named when an input is refused; all are counted
WINDOW = 48  # items in flight: a full batch at the engine and half a one ready to follow


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the lines of an input must be. endpoint: the url of every item. model: instead of what the lines say, None: theirs,
    which must be one and the same. plain: lines of `messages`, `prompt` or `input` are taken as bodies, named by their line."""

    endpoint: str
    model: str | None = None
    plain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One request. number: its place among the items, from 0; line: of the file, from 1."""

    number: int
    line: int
    custom_id: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an item: an HTTP status and body. usage: tokens, for the figures of the run."""

    status: int
    body: dict[str, Any]
    usage: Usage = field(default_factory=Usage)

    @property
    def ok(self) -> bool:
        return self.status < 400


@dataclass(frozen=True, slots=True, kw_only=True)
class LineProblem:
    """Why a line of the input is refused, in the words of the OpenAI API. line is None for the file as a whole."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class InvalidBatch(InvalidValue):
    """The input is refused as a whole. problems: the first MAX_PROBLEMS of `count`, by line."""

    code = "invalid_batch"

    def __init__(self, problems: Sequence[LineProblem], count: int) -> None:
        first = problems[0]
        where = f"line {first.line}: " if first.line is not None else ""
        more = f" ({count} lines are not valid)" if count > 1 else ""
        super().__init__(f"The input is not a batch: {where}{first.message}{more}", param=first.param)
        self.problems = tuple(problems)
        self.count = count


@dataclass(slots=True, kw_only=True)
class Counts:
    """How far a run is. completed and failed have a line in the log; new: those of them that this run asked."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    new: int = 0
    usage: Usage = field(default_factory=Usage)

    @property
    def done(self) -> int:
        return self.completed + self.failed

    def add(self, outcome_ok: bool, usage: Usage) -> None:
        if outcome_ok:
            self.completed += 1
        else:
            self.failed += 1
        self.usage = Usage(
            prompt_tokens=self.usage.prompt_tokens + usage.prompt_tokens,
            completion_tokens=self.usage.completion_tokens + usage.completion_tokens,
            cached_tokens=self.usage.cached_tokens + usage.cached_tokens,
        )


class Answerer(Protocol):
    """Answers items of one endpoint. Used from one event loop."""

    async def answer(self, item: Item, warm: Callable[[], None] | None) -> Outcome:
        """One attempt. warm: called once when the prompt has been read, for those that share it and wait; None when nobody does.
        A cancelled call frees the engine. Raises LLMOSError."""
        ...

    def refusal(self, error: Exception) -> Outcome:
        """How an error reads as the answer of an item."""
        ...


class Control(Protocol):
    """Who runs the batch: a job, or a person at a terminal. Called from threads of the run, one call at a time."""

    def step(self) -> None:
        """Several times a second. May wait (nothing new starts meanwhile); raises what shall end the run."""
        ...

    def report(self, counts: Counts) -> None:
        """About once a second, and at the end."""
        ...


class Unattended:
    """A Control that neither stops nor tells."""

    def step(self) -> None:
        """Goes on."""

    def report(self, counts: Counts) -> None:
        """Says nothing."""


@dataclass(frozen=True, slots=True)
class BatchFolder:
    """Where a run keeps what it knows."""

    path: Path

    @property
    def plan(self) -> Path:
        return self.path / "plan.sqlite3"

    @property
    def log(self) -> Path:
        return self.path / "results.log"
