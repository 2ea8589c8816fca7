"""What one side of a channel sends of the requests that run for the other: their news as they come, of all of them in one frame."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator

from llmos.engine.base import Chunk, Engine, Handle
from llmos.engine.turns import calling
from llmos.engine.wire import Answer, Call, Channel, Chunks, Ended, News, Problem, pack
from llmos.errors import EngineError


class Outbox:
    """One thread forwards. A channel whose other end is gone takes nothing more; the handles run on until somebody cancels them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._handles: dict[str, Handle] = {}
        self._ready: queue.SimpleQueue[Handle | None] = queue.SimpleQueue()

    def start(self) -> None:
        threading.Thread(target=self._run, name="outbox", daemon=True).start()

    def watch(self, handle: Handle) -> None:
        """Forwards what comes of it, its end included."""
        self._handles[handle.request.id] = handle
        handle.watch(lambda: self._ready.put(handle))
        self._ready.put(handle)

    def cancel(self, name: str) -> None:
        handle = self._handles.get(name)
        if handle is not None:
            handle.cancel()

    def cancel_all(self) -> None:
        for handle in list(self._handles.values()):
            handle.cancel()

    def stop(self) -> None:
        self._ready.put(None)

    def took(self, handle: Handle, chunks: list[Chunk], *, ended: bool) -> None:
        """Called with what came of a handle, before it is sent. For those who count."""

    def _run(self) -> None:
        while (handle := self._ready.get()) is not None:
            handles = {handle.request.id: handle}
            with contextlib.suppress(queue.Empty):
                while (handle := self._ready.get_nowait()) is not None:
                    handles[handle.request.id] = handle
            self._forward([item for handle in handles.values() for item in self._news(handle)])

    def _news(self, handle: Handle) -> Iterator[Chunks | Ended]:
        items = handle.take()
        chunks = [item for item in items if isinstance(item, Chunk)]
        ended = bool(items) and not isinstance(items[-1], Chunk)
        if items:
            self.took(handle, chunks, ended=ended)
        if chunks:
            yield Chunks(handle.request.id, chunks)
        if ended:
            self._handles.pop(handle.request.id, None)
            problem = items[-1]
            yield Ended(handle.request.id, Problem.of(problem) if isinstance(problem, Exception) else None)

    def _forward(self, news: list[Chunks | Ended]) -> None:
        try:
            if news:
                self._channel.send(News(news))
        except OSError:
            return  # the other end is gone; the reader sees it too
        except Exception as problem:  # noqa: BLE001 - what cannot be sent fails its request, not the thread
            if len(news) > 1:  # which of them it is
                for one in news:
                    self._forward([one])
            else:
                self._channel.send(News([Ended(news[0].id, Problem.of(problem))]))
                if handle := self._handles.pop(news[0].id, None):
                    handle.cancel()


def answer_of(engine: Engine, call: Call) -> Answer:
    """What the engine says to one of its blocking calls. Raises what it raises."""
    with calling(call.priority):
        return _answer_of(engine, call)


def _answer_of(engine: Engine, call: Call) -> Answer:
    match call.method:
        case "score":
            return Answer(call.id, scores=engine.score(call.items, top=call.top, adapter=call.adapter))
        case "embed":
            return Answer(call.id, arrays=[pack(engine.embed(call.inputs))])
        case "classify":
            return Answer(call.id, arrays=[pack(engine.classify(call.pairs))])
        case "tag":
            return Answer(call.id, arrays=[pack(row) for row in engine.tag(call.inputs)])
        case "fill_mask":
            return Answer(call.id, arrays=[pack(row) for row in engine.fill_mask(call.inputs, call.candidates)])
    raise EngineError(f"Unknown call {call.method!r}.")
