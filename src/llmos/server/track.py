"""What one request does, noted as it goes. When it is over its figures, its line in the request log and its spans come from here.

    admitted ("queue") -> session_for ("load") -> submit ("generate") -> first text -> tokens

Noting costs a few microseconds a request; only a stream that is being read costs something a delta (the gap before it).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from starlette.requests import Request
from starlette.types import Scope

from llmos.types import Usage

if TYPE_CHECKING:
    from llmos.server.work import Group


class Phase(NamedTuple):
    """begin and end: time.perf_counter() instants."""

    name: str
    begin: float
    end: float


@dataclass(slots=True, eq=False)
class Track:
    """asked: the model's name in the request; model: the name of the one that answered. priority: its class in the queue.
    generate_at, first_at: when generating began, when the first text of a stream was there (perf_counter). groups: what was
    generated. error: code of the error that the request ended with, or ""."""

    asked: str = ""
    model: str = ""
    priority: str = ""
    streamed: bool = False
    generate_at: float | None = None
    first_at: float | None = None
    error: str = ""
    phases: list[Phase] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    _usages: list[Usage] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.phases.append(Phase(name, begin, time.perf_counter()))

    def count(self, usage: Usage) -> None:
        """A Meter (engine/generation.py). From any thread."""
        self._usages.append(usage)

    @property
    def usage(self) -> Usage:
        parts = list(self._usages)
        return Usage(
            prompt_tokens=sum(part.prompt_tokens for part in parts),
            completion_tokens=sum(part.completion_tokens for part in parts),
            cached_tokens=sum(part.cached_tokens for part in parts),
        )

    @property
    def engine(self) -> str:
        return ", ".join(sorted({group.engine for group in self.groups if group.engine}))

    @property
    def finish_reasons(self) -> list[str]:
        """Of the answers that are over."""
        return [reason for group in self.groups for reason in group.finish_reasons]

    def seconds(self, name: str) -> float | None:
        """How long a phase took in all; None when there was none."""
        found = [phase.end - phase.begin for phase in self.phases if phase.name == name]
        return sum(found) if found else None


def track_of(request: Request) -> Track:
    """The request's own; made with the first call."""
    return _track(request.scope)


def tracked(scope: Scope) -> Track | None:
    """The track of a request that is over; None when nothing was noted (it touched no model and had no error)."""
    if "refusal" in scope["state"]:  # the gate's own
        note_error(scope, scope["state"]["refusal"])
    found: Track | None = scope["state"].get("track")
    return found


def note_error(scope: Scope, code: str) -> None:
    """The code of the error that the request is answered with."""
    _track(scope).error = code


def _track(scope: Scope) -> Track:
    state = scope.setdefault("state", {})
    if "track" not in state:
        state["track"] = Track()
    found: Track = state["track"]
    return found
