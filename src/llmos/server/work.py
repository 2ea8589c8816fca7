"""From a request to a session and back: finding the model, running blocking work off the loop, watching the client.

The rule is one: whatever a request started ends with it. A client that goes away cancels its generation within one decode step;
what blocks runs in a thread, so that one slow model load delays nobody else.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llmos.access.base import LOCAL, Caller
from llmos.engine.generation import Completion, Delta, Generation
from llmos.errors import Cancelled, CorruptFile, InvalidValue, LLMOSError, NotFound, OverCapacity
from llmos.library.names import parse
from llmos.server.track import track_of
from llmos.types import Message, Sampling, Tool, Usage

if TYPE_CHECKING:
    from llmos.engine.session import Session
    from llmos.library.library import Library
    from llmos.server.guard import Visit
    from llmos.server.state import State

T = TypeVar("T")
TURN_EVENTS = 32  # that a stream sends before others have their turn
BYTES_PER_TOKEN = 4  # of JSON: about that for English text; an estimate is enough to shed load


def state_of(request: Request) -> State:
    state: State = request.app.state.llmos
    return state


def caller_of(request: Request) -> Caller:
    """Who asks: the key's owner, or the machine's own user."""
    caller: Caller = getattr(request.state, "caller", LOCAL)
    return caller


def trace_labels(request: Request) -> dict[str, str]:
    """The label by which a job that this request submits belongs to its caller's trace; none where nobody traces."""
    header = request.headers.get("traceparent")
    return {"traceparent": header[:256]} if header and state_of(request).settings.otlp_endpoint else {}


def library_of(request: Request) -> Library:
    """The library as the caller sees it."""
    caller, library = caller_of(request), state_of(request).library
    return library if caller.everywhere else library.seen_by(caller.project)


def refuse_local_path(name: str) -> str:
    """Names that read this machine's disk are for the CLI, never for a request."""
    if parse(name).is_local_disk:
        raise InvalidValue(
            f"The model name {name!r} points into the server's disk.", param="model", hint="Use a name of /v1/models."
        )
    return name


def session_of(
    state: State,
    caller: Caller,
    name: str,
    *,
    load: bool = True,
    engine: str | None = None,
    keep_alive_s: float | None = None,
    shares: bool = False,
) -> Session:
    """The model `name` as the caller sees it; what is not for its project is not there. Its prefixes are shared with the
    caller's project only. shares: for a batch in whose prompts much is the same. Waits while the model loads."""
    exact, seen = name, None
    if not caller.everywhere:
        seen = state.library.seen_by(caller.project).resolve(name)
        exact = name if seen.card.format == "remote" else f"{seen.card.name}:{seen.card.version}"
    shared_by = caller.project if shares else None
    session = state.pool.session(exact, engine=engine, keep_alive_s=keep_alive_s, load=load, pull=False, shared_by=shared_by)
    if seen is not None:
        session.requested, session.notice = name, seen.notice
    session.cache_salt = caller.project
    return session


async def session_for(
    request: Request, name: str, *, load: bool = True, engine: str | None = None, keep_alive_s: float | None = None
) -> Session:
    """The model `name`, loaded when needed. Nothing is downloaded here: a model that is not in the library, or not for the caller's
    project, is a 404."""
    state, caller = state_of(request), caller_of(request)
    refuse_local_path(name)

    def find() -> Session:
        try:
            return session_of(state, caller, name, load=load, engine=engine, keep_alive_s=keep_alive_s)
        except (NotFound, CorruptFile) as error:
            error.param = error.param or "model"
            raise

    track = track_of(request)
    track.asked = name
    with track.phase("load"):
        session = await watched(request.receive, lambda: None, asyncio.to_thread(find))
    track.model = session.card.name
    session.meter, session.priority = track.count, caller.priority
    return session


def note_user(request: Request, user: str | None) -> None:
    """`user`, `safety_identifier`, `user_id`: whose request it is, for the request's log line, as a digest."""
    if user is not None:
        request.state.user = hashlib.sha256(user.encode()).hexdigest()[:16]


async def blocking(call: Callable[[], T]) -> T:
    return await asyncio.to_thread(call)


def told_of(session: Session, group: Group | None = None) -> dict[str, str]:
    """Response headers that say what served the request, and what the asked name stands for."""
    headers = {"x-llmos-model": session.card.ref}
    if group is not None:
        headers["x-llmos-engine"] = group.engine
    if session.notice:
        headers["x-llmos-notice"] = session.notice.encode("ascii", "replace").decode().replace("\n", " ")
    return headers


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def watched(receive: Receive, cancel: Callable[[], None], work: Awaitable[T]) -> T:
    """Awaits `work`. When the client goes away first: calls `cancel` and raises Cancelled."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Cancelled("The client went away.")
    except BaseException:
        cancel()
        raise
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            task.add_done_callback(
                lambda task: None if task.cancelled() else task.exception()
            )  # it was abandoned; say so to asyncio


async def admitted(request: Request) -> None:
    """Waits for a place at the engines; it is held until the request is over (gate.py gives it back).

    The prompt's tokens are estimated from the body, so that a request can be refused before any model is touched.
    """
    state, track, caller = state_of(request), track_of(request), caller_of(request)
    if state.draining:
        raise OverCapacity("The server is stopping and takes no new work.", retry_after_s=5.0)
    visit: Visit = request.state.visit
    await visit.tokens(request)
    tokens = request.state.body_bytes // BYTES_PER_TOKEN
    key = caller.account or caller.key_id or getattr(request.state, "key", None)
    track.priority = caller.priority

    async def enter() -> None:
        place = await state.admission.acquire(tokens, key, caller.priority)
        request.state.at_end.append(lambda: place.release(track.usage.completion_tokens))

    with track.phase("queue"):
        await watched(request.receive, lambda: None, enter())


class Group:
    """The generations of one request (several prompts make several), seen as one."""

    def __init__(self, generations: Sequence[Generation]) -> None:
        self.generations = list(generations)
        self.finish_reasons: list[str] = []  # of the answers that are over

    def cancel(self) -> None:
        for generation in self.generations:
            generation.cancel()

    @property
    def usage(self) -> Usage:
        parts = [generation.usage for generation in self.generations]
        return Usage(
            prompt_tokens=sum(part.prompt_tokens for part in parts),
            completion_tokens=sum(part.completion_tokens for part in parts),
            cached_tokens=sum(part.cached_tokens for part in parts),
        )

    @property
    def engine(self) -> str:
        return ", ".join(sorted({generation.engine for generation in self.generations}))

    async def results(self) -> list[list[Completion]]:
        found = await asyncio.gather(*(generation.aresult() for generation in self.generations))
        self.finish_reasons += [one.finish_reason for completions in found for one in completions]
        return found

    async def deltas(self) -> AsyncIterator[tuple[int, Delta]]:
        """(which generation, delta) as they come. The first error ends all."""
        if len(self.generations) == 1:
            async for delta in self.generations[0]:
                yield 0, delta
            return
        ready: asyncio.Queue[tuple[int, Delta] | BaseException | None] = asyncio.Queue(maxsize=64)

        async def pull(place: int, generation: Generation) -> None:
            try:
                async for delta in generation:
                    await ready.put((place, delta))
                await ready.put(None)
            except LLMOSError as error:
                await ready.put(error)

        tasks = [asyncio.create_task(pull(place, one)) for place, one in enumerate(self.generations)]
        try:
            left = len(tasks)
            while left:
                item = await ready.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    left -= 1
                else:
                    yield item
        finally:
            for task in tasks:
                task.cancel()


async def submit(request: Request, start: Callable[[], Sequence[Generation]]) -> Group:
    """Starts generations in a thread (an engine may have to load). They end with the request, come what may."""
    lock, left = threading.Lock(), False
    made: list[Generation] = []
    ends: list[Callable[[], None]] = []
    track = track_of(request)
    track.generate_at = time.perf_counter()

    def begin() -> Group:
        generations = start()
        with lock:
            made.extend(generations)
        if left:
            Group(made).cancel()
        group = Group(generations)
        track.groups.append(group)
        ends.append(state_of(request).recent.begin(track.model, lambda: group.usage.completion_tokens))
        return group

    def leave() -> None:
        nonlocal left
        with lock:
            left = True
        Group(made).cancel()
        for end in ends:
            end()

    request.state.at_end.append(leave)
    return await watched(request.receive, leave, asyncio.to_thread(begin))


async def submit_chat(
    request: Request,
    session: Session,
    messages: Sequence[Message],
    sampling: Sampling,
    *,
    stream: bool,
    tools: Sequence[Tool] = (),
    tool_choice: str = "auto",
    extra: dict[str, Any] | None = None,
) -> Group:
    """`submit` for one chat, within the server's deadline."""
    deadline_s = state_of(request).settings.request_deadline_s

    def start() -> Sequence[Generation]:
        return [
            session.chat(
                messages, sampling, tools=tools, tool_choice=tool_choice, deadline_s=deadline_s, extra=extra, stream=stream
            )
        ]

    return await submit(request, start)


async def started(request: Request, group: Group) -> AsyncIterator[tuple[int, Delta]]:
    """Waits for the first delta, so that an error before it has its own status, and gives the whole stream back."""
    deltas, track = group.deltas(), track_of(request)
    gap = state_of(request).metrics.gap(track.model)
    track.streamed = True

    async def pull() -> tuple[int, Delta] | None:
        return await anext(deltas, None)

    first = await watched(request.receive, group.cancel, pull())
    before = time.perf_counter()
    track.first_at = None if first is None else before
    if first is not None and track.generate_at is not None:
        state_of(request).recent.first(before - track.generate_at)

    async def again() -> AsyncIterator[tuple[int, Delta]]:
        nonlocal before
        if first is not None:
            if first[1].finish_reason is not None:
                group.finish_reasons.append(first[1].finish_reason)
            yield first
        try:
            async for item in deltas:
                now = time.perf_counter()
                gap((now - before) / max(1, len(item[1].token_ids)))
                before = now
                if item[1].finish_reason is not None:
                    group.finish_reasons.append(item[1].finish_reason)
                yield item
        except LLMOSError as error:
            track.error = error.code  # the status has left already; the stream's last event says it
            raise

    return again()


class EventStream(Response):
    """A body written as it comes. `events` gives ready bytes; `cancel` ends what produces them, with the connection at the latest."""

    def __init__(
        self,
        events: AsyncIterator[bytes],
        cancel: Callable[[], None],
        headers: dict[str, str],
        media_type: str = "text/event-stream",
    ) -> None:
        self.events, self.cancel = events, cancel
        self.status_code, self.background, self.media_type = 200, None, media_type
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no", **headers})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

        async def pump() -> None:
            sent = 0
            async for event in self.events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
                sent += 1
                if sent % TURN_EVENTS == 0:  # neither need suspend: what lay unread would keep everybody else from the loop
                    await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        try:
            await watched(receive, self.cancel, pump())
        except Cancelled:
            raise ConnectionAbortedError("the client went away") from None
        finally:
            self.cancel()
