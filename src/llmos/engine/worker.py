"""The engine process: one model, driven by frames over the socket whose descriptor is its only argument.

    python -P -m llmos.engine.worker FD

It ends when the parent says so, closes the socket or dies. A native engine that crashes takes this process and nothing else.

    reader (main thread)   Load -> engine; Submit -> handle; Call -> pool of threads
    pump (one thread)      handles that have something new -> News
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from llmos.engine.base import Chunk, Engine, Handle, backends
from llmos.engine.wire import (
    Answer,
    Call,
    Cancel,
    Channel,
    Chunks,
    Ended,
    Failed,
    Load,
    Loaded,
    News,
    Problem,
    Shut,
    Submit,
    ToWorker,
    pack,
)
from llmos.errors import EngineError


class Worker:
    """Serves one channel until its end."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._handles: dict[str, Handle] = {}
        self._ready: queue.SimpleQueue[Handle | None] = queue.SimpleQueue()
        self._calls = ThreadPoolExecutor(max_workers=4, thread_name_prefix="call")

    def run(self) -> None:
        engine = self._load()
        if engine is None:
            return
        threading.Thread(target=self._pump, name="pump", daemon=True).start()
        while True:
            match self._channel.receive():
                case Submit(request=request):
                    self._submit(engine, request)
                case Cancel(id=name):
                    handle = self._handles.get(name)
                    if handle is not None:
                        handle.cancel()
                case Call() as call:
                    self._calls.submit(self._call, engine, call)
                case Shut():
                    engine.close()
                    return
                case _:  # the parent is gone
                    return

    def _load(self) -> Engine | None:
        message = self._channel.receive()
        if not isinstance(message, Load):
            return None
        try:
            sys.path[:] = message.search_path
            importlib.import_module(message.module)
            backend = backends.get(message.backend)
            engine = backend.load(message.card, message.folder, message.variant, message.options)
        except Exception as problem:  # noqa: BLE001 - whatever a native library raises is an answer to the parent
            self._channel.send(Failed(Problem.of(problem)))
            return None
        self._channel.send(
            Loaded(
                features=sorted(engine.features),
                memory_bytes=engine.memory_bytes,
                load_s=engine.load_s,
                context_length=engine.context_length,
            )
        )
        return engine

    def _submit(self, engine: Engine, request: Any) -> None:
        try:
            handle = engine.submit(request)
        except Exception as problem:  # noqa: BLE001 - goes to the request it belongs to
            self._channel.send(News([Ended(request.id, Problem.of(problem))]))
            return
        self._handles[request.id] = handle
        handle.watch(lambda: self._ready.put(handle))
        self._ready.put(handle)

    def _pump(self) -> None:
        while (handle := self._ready.get()) is not None:
            handles = {handle.request.id: handle}
            with contextlib.suppress(queue.Empty):
                while (handle := self._ready.get_nowait()) is not None:
                    handles[handle.request.id] = handle
            self._forward([item for handle in handles.values() for item in self._news(handle)])

    def _news(self, handle: Handle) -> Iterator[Chunks | Ended]:
        items = handle.take()
        chunks = [item for item in items if isinstance(item, Chunk)]
        if chunks:
            yield Chunks(handle.request.id, chunks)
        if items and not isinstance(items[-1], Chunk):
            self._handles.pop(handle.request.id, None)
            yield Ended(handle.request.id, Problem.of(items[-1]) if items[-1] is not None else None)

    def _forward(self, news: list[Chunks | Ended]) -> None:
        try:
            if news:
                self._channel.send(News(news))
        except OSError:
            return  # the parent is gone; the reader sees it too
        except Exception as problem:  # noqa: BLE001 - what cannot be sent fails its request, not the pump
            if len(news) > 1:  # which of them it is
                for one in news:
                    self._forward([one])
            else:
                self._channel.send(News([Ended(news[0].id, Problem.of(problem))]))
                if handle := self._handles.pop(news[0].id, None):
                    handle.cancel()

    def _call(self, engine: Engine, call: Call) -> None:
        try:
            answer = msgspec.structs.replace(_answer(engine, call), memory_bytes=engine.memory_bytes)
        except Exception as problem:  # noqa: BLE001 - goes to the caller
            answer = Answer(call.id, Problem.of(problem))
        self._channel.send(answer)


def _answer(engine: Engine, call: Call) -> Answer:
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


def main() -> None:
    sock = socket.socket(fileno=int(sys.argv[1]))
    with contextlib.suppress(OSError):  # the parent is gone
        Worker(Channel(sock, ToWorker)).run()
    sys.stderr.flush()
    os._exit(0)  # native libraries' exit handlers are not trusted to end


if __name__ == "__main__":
    main()
