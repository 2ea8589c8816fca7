"""Jobs on a server, through its documented routes. Following reads server-sent events and survives a restart of the server.

`_Stream` decides (what to ask for, what a line means, when to try again) without I/O; the two loops below it drive it, one for threads,
one for event loops.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from llmos.errors import DeadlineExceeded, LLMOSError, Unreachable
from llmos.kernel.base import Job, JobEvent, JobSpec, JobState, Priority
from llmos.sdk.base import EventRows, JobCalls, JobRows, Steering
from llmos.sdk.jobs import final_state

SILENCE_S = 45.0  # three heartbeats: the connection is dead, not quiet
RESTART_S = 60.0  # how long a server that answered before may be away
_PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0)

Call = Callable[..., Any]


def job_from(found: dict[str, Any]) -> Job:
    """The record as the server sent it. It keeps the beat of the lease to itself."""
    return msgspec.convert({"beat": 0, **found}, Job)


@dataclass(slots=True, kw_only=True)
class _Stream:
    """One `follow`: where it is, and what to do when a connection ends. over: the last event has been seen."""

    url: str
    job_id: str
    after: int
    types: Sequence[str]
    timeout_s: float | None
    over: bool = False
    _began: float = field(default_factory=time.monotonic)
    _lost: float | None = None  # when the server was last heard of, while it is away
    _tries: int = 0
    _answered: bool = False
    _name: str = ""
    _data: str = ""

    @property
    def left_s(self) -> float | None:
        return None if self.timeout_s is None else self.timeout_s - (time.monotonic() - self._began)

    def check(self) -> None:
        left_s = self.left_s
        if left_s is not None and left_s <= 0:
            raise DeadlineExceeded(f"Job {self.job_id} is not over after {self.timeout_s:g} s.", hint="It goes on.")

    def request(self) -> dict[str, Any]:
        """Arguments of the request that opens (or opens again) the stream."""
        query: dict[str, Any] = {"after": self.after}
        if self.types:
            query["types"] = ",".join(self.types)
        if self.left_s is not None:
            query["wait_s"] = round(max(self.left_s, 0.001), 3)
        headers = {"accept": "text/event-stream"}
        return {
            "url": f"/api/v1/jobs/{self.job_id}/events",
            "params": query,
            "headers": headers,
            "timeout": httpx.Timeout(SILENCE_S),
        }

    def opened(self) -> None:
        self._answered, self._lost, self._tries = True, None, 0
        self._name = self._data = ""

    def feed(self, line: str) -> JobEvent | None:
        """One line of the stream; the event that it completes."""
        name, _, value = line.partition(":")
        if name == "data":
            self._data += value.removeprefix(" ")
        if line or not self._data:
            return None
        event = msgspec.convert(json.loads(self._data), JobEvent)
        self._data = ""
        self.after = event.seq
        self.over = final_state(event) is not None
        return event

    def broke(self, problem: httpx.HTTPError) -> float:
        """How long to wait before the next try. Raises Unreachable when the server never answered or was away too long."""
        now = time.monotonic()
        self._lost = self._lost or now
        if not self._answered or now - self._lost > RESTART_S:
            hint = "Is it running? Start it with: llmos serve"
            raise Unreachable(f"The server at {self.url} cannot be reached: {problem}.", hint=hint) from problem
        self._tries += 1
        return _PAUSES_S[min(self._tries, len(_PAUSES_S)) - 1]


class HTTPJobs(JobCalls):
    """`call` is the transport's (method, path, body=, params=) -> JSON; `error` makes the server's error from status and text."""

    def __init__(self, client: httpx.Client, call: Call, error: Callable[[int, str], LLMOSError]) -> None:
        self._client, self._call, self._error = client, call, error

    def submit(self, spec: JobSpec) -> Job:
        body = msgspec.to_builtins(spec)
        del body["project"], body["submitted_by"]  # the server knows whose key it is
        if spec.priority is Priority.NORMAL:
            del body["priority"]  # as urgent as the key allows, normal at most
        return job_from(self._call("POST", "/api/v1/jobs", {name: value for name, value in body.items() if value is not None}))

    def get(self, job_id: str) -> Job:
        return job_from(self._call("GET", f"/api/v1/jobs/{job_id}"))

    def list(
        self, *, states: Sequence[JobState], kind: str | None, labels: Mapping[str, str], limit: int, before: str | None
    ) -> JobRows:
        query: list[tuple[str, str]] = [("limit", str(limit)), *(("state", str(state)) for state in states)]
        query += [("label", f"{name}:{value}") for name, value in labels.items()]
        query += [(name, value) for name, value in (("kind", kind), ("before", before)) if value is not None]
        return [job_from(row) for row in self._call("GET", "/api/v1/jobs", params=query)["jobs"]]

    def steer(self, job_id: str, how: Steering) -> Job:
        return job_from(self._call("POST", f"/api/v1/jobs/{job_id}/{how}"))

    def remove(self, job_id: str) -> None:
        self._call("DELETE", f"/api/v1/jobs/{job_id}")

    def events(self, job_id: str, *, after: int, limit: int) -> EventRows:
        found = self._call("GET", f"/api/v1/jobs/{job_id}/events", params={"after": after, "limit": limit})["events"]
        return [msgspec.convert(row, JobEvent) for row in found]

    def follow(
        self, job_id: str, *, after: int, timeout_s: float | None = None, types: Sequence[str] = ()
    ) -> Generator[JobEvent, None, None]:
        stream = self._stream(job_id, after, timeout_s, types)
        while True:
            before = stream.after
            try:
                with self._client.stream("GET", **stream.request()) as answer:
                    if answer.is_error:
                        answer.read()
                        raise self._error(answer.status_code, answer.text)
                    stream.opened()
                    for line in answer.iter_lines():
                        if event := stream.feed(line):
                            yield event
            except httpx.HTTPError as problem:
                time.sleep(stream.broke(problem))
            else:
                if stream.over or (stream.after == before and self._is_over(job_id)):
                    return
                time.sleep(_PAUSES_S[0])  # the server is stopping, or the time is over
            stream.check()

    async def afollow(
        self, job_id: str, *, after: int, timeout_s: float | None = None, types: Sequence[str] = ()
    ) -> AsyncGenerator[JobEvent, None]:
        stream = self._stream(job_id, after, timeout_s, types)
        async with httpx.AsyncClient(base_url=self._client.base_url, headers=self._client.headers) as client:
            while True:
                before = stream.after
                try:
                    async with client.stream("GET", **stream.request()) as answer:
                        if answer.is_error:
                            await answer.aread()
                            raise self._error(answer.status_code, answer.text)
                        stream.opened()
                        async for line in answer.aiter_lines():
                            if event := stream.feed(line):
                                yield event
                except httpx.HTTPError as problem:
                    await asyncio.sleep(stream.broke(problem))
                else:
                    if stream.over or (stream.after == before and await asyncio.to_thread(self._is_over, job_id)):
                        return
                    await asyncio.sleep(_PAUSES_S[0])
                stream.check()

    def _stream(self, job_id: str, after: int, timeout_s: float | None, types: Sequence[str]) -> _Stream:
        return _Stream(url=str(self._client.base_url), job_id=job_id, after=after, types=types, timeout_s=timeout_s)

    def _is_over(self, job_id: str) -> bool:
        """Whether a stream that brought nothing ended because there is nothing more to come. A server that is just going away
        says no: the next try finds out."""
        try:
            return self.get(job_id).state.final
        except Unreachable:
            return False
