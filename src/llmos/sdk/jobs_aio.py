"""Jobs for an event loop: `await job.wait()`, `async for event in job`. The same as jobs.py, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self

from llmos.kernel.base import JobEvent, Resources, Retry
from llmos.sdk.base import JobCalls
from llmos.sdk.jobs import JobView, OnEvent, States, make_spec, outcome, rows


class AsyncJobHandle(JobView):
    """`JobHandle` with awaitable methods; see there for what each does and raises."""

    async def refresh(self) -> Self:
        self.record = await asyncio.to_thread(self._calls.get, self.id)
        return self

    def events(self, after: int = 0) -> AsyncIterator[JobEvent]:
        return self._calls.afollow(self.id, after=after)

    def __aiter__(self) -> AsyncIterator[JobEvent]:
        return self.events()

    async def wait(self, timeout_s: float | None = None, on_event: OnEvent | None = None) -> dict[str, Any]:
        types = () if on_event is not None else ("state",)
        async for event in self._calls.afollow(self.id, after=0, timeout_s=timeout_s, types=types):
            if on_event is not None:
                on_event(event)
        return outcome((await self.refresh()).record)

    async def cancel(self) -> Self:
        self.record = await asyncio.to_thread(self._calls.steer, self.id, "cancel")
        return self

    async def pause(self) -> Self:
        self.record = await asyncio.to_thread(self._calls.steer, self.id, "pause")
        return self

    async def resume(self) -> Self:
        self.record = await asyncio.to_thread(self._calls.steer, self.id, "resume")
        return self

    async def remove(self) -> None:
        await asyncio.to_thread(self._calls.remove, self.id)


Handles = list[AsyncJobHandle]  # `list` is a method below


class AsyncJobs:
    """`Jobs` with awaitable methods."""

    def __init__(self, calls: JobCalls) -> None:
        self._calls = calls

    async def submit(
        self,
        kind: str,
        params: Mapping[str, Any] | None = None,
        *,
        priority: str = "normal",
        depends_on: Sequence[JobView | str] = (),
        idempotency_key: str | None = None,
        deadline_s: float | None = None,
        resources: Resources | None = None,
        retry: Retry | None = None,
        labels: Mapping[str, str] | None = None,
        wait: bool = False,
    ) -> AsyncJobHandle:
        spec = make_spec(
            kind,
            params,
            priority=priority,
            depends_on=depends_on,
            idempotency_key=idempotency_key,
            deadline_s=deadline_s,
            resources=resources,
            retry=retry,
            labels=labels,
        )
        handle = AsyncJobHandle(self._calls, await asyncio.to_thread(self._calls.submit, spec))
        if wait:
            await handle.wait()
        return handle

    async def list(
        self,
        *,
        state: States = (),
        kind: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int = 50,
        before: JobView | str | None = None,
    ) -> Handles:
        found = await asyncio.to_thread(rows, self._calls, state=state, kind=kind, labels=labels, limit=limit, before=before)
        return [AsyncJobHandle(self._calls, job) for job in found]

    async def get(self, job_id: str) -> AsyncJobHandle:
        return AsyncJobHandle(self._calls, await asyncio.to_thread(self._calls.get, job_id))
