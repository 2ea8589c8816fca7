"""The events of one job for one client: a page of them, or a stream of server-sent events that ends with the job.

    id: 7                              the number of the event: a client that comes back sends it as Last-Event-ID
    event: progress                    its type
    data: {"job_id": …, "seq": 7, …}   all of it

A comment every Limits.heartbeat_s keeps the connection from looking dead. The stream also ends when the server stops; the client
comes back.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Collection
from typing import Any

import msgspec

from llmos.errors import NotFound
from llmos.kernel.base import JobEvent, JobState
from llmos.sdk.jobs import final_state
from llmos.server.state import State
from llmos.server.work import blocking

PAGE = 500  # events read at once


def frame(event: JobEvent) -> bytes:
    return f"id: {event.seq}\nevent: {event.type}\ndata: {json.dumps(msgspec.to_builtins(event))}\n\n".encode()


class Follower:
    """Reads one job for one client. project: whose jobs the client sees, None for all. types: only these; empty for all."""

    def __init__(self, state: State, job_id: str, *, project: str | None, after: int, types: Collection[str] = ()) -> None:
        self.state, self.id, self.project, self.after, self.types = state, job_id, project, after, types
        self.job_state = JobState.QUEUED
        self._caught_up = False

    async def page(self, limit: int = PAGE) -> list[JobEvent]:
        """The next events, if there are any. Moves `after` behind what it read. Raises NotFound."""

        def read() -> tuple[JobState, list[JobEvent]]:
            # the state first: events that come between the two reads are then read too, the last of all among them
            job = self.state.jobs.get(self.id, project=self.project)
            events = self.state.jobs.events(self.id, after=self.after, limit=limit)
            return next((state for event in events if (state := final_state(event))), job.state), events

        self.job_state, found = await blocking(read)
        self._caught_up = len(found) < limit
        self.after = found[-1].seq if found else self.after
        return [event for event in found if not self.types or event.type in self.types]

    @property
    def over(self) -> bool:
        """Nothing follows what was read."""
        return self.job_state.final and self._caught_up

    async def news(self, wait_s: float) -> bool:
        """Waits for more; False when there was none."""
        return await self.state.watcher.wait(self.id, self.after, wait_s)

    async def stream(self, first: list[JobEvent], wait_s: float | None) -> AsyncIterator[bytes]:
        """`first` and all that follows. Ends with the job, with the server, after wait_s."""
        end = None if wait_s is None else time.monotonic() + wait_s
        page = first
        yield b": events of a job\n\n"
        while True:
            for event in page:
                yield frame(event)
            if self.over or self.state.draining:
                return
            if self._caught_up:
                left_s = self.state.limits.heartbeat_s
                left_s = left_s if end is None else min(left_s, end - time.monotonic())
                if left_s <= 0:
                    return
                if not await self.news(left_s):
                    yield b": nothing new\n\n"
            try:
                page = await self.page()
            except NotFound:
                return  # it was over, and somebody has removed it


def answer(follower: Follower, page: list[JobEvent]) -> dict[str, Any]:
    return {"events": msgspec.to_builtins(page), "after": follower.after, "state": str(follower.job_state)}
