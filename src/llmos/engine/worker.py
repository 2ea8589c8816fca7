"""The engine process: one model, driven by frames over the socket whose descriptor is its only argument.

    python -P -m llmos.engine.worker FD

It ends when the parent says so, closes the socket or dies. A native engine that crashes takes this process and nothing else.

    reader (main thread)   Load -> engine; Submit -> handle; Call -> pool of threads
    outbox (one thread)    handles that have something new -> News
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from llmos.engine.base import Engine, backends
from llmos.engine.outbox import Outbox, answer_of
from llmos.engine.wire import Answer, Call, Cancel, Channel, Ended, Failed, Load, Loaded, News, Problem, Shut, Submit, ToWorker


class Worker:
    """Serves one channel until its end."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._outbox = Outbox(channel)
        self._calls = ThreadPoolExecutor(max_workers=4, thread_name_prefix="call")

    def run(self) -> None:
        engine = self._load()
        if engine is None:
            return
        self._outbox.start()
        while True:
            match self._channel.receive():
                case Submit(request=request):
                    self._submit(engine, request)
                case Cancel(id=name):
                    self._outbox.cancel(name)
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
            self._outbox.watch(engine.submit(request))
        except Exception as problem:  # noqa: BLE001 - goes to the request it belongs to
            self._channel.send(News([Ended(request.id, Problem.of(problem))]))

    def _call(self, engine: Engine, call: Call) -> None:
        try:
            answer = msgspec.structs.replace(answer_of(engine, call), memory_bytes=engine.memory_bytes)
        except Exception as problem:  # noqa: BLE001 - goes to the caller
            answer = Answer(call.id, Problem.of(problem))
        self._channel.send(answer)


def main() -> None:
    sock = socket.socket(fileno=int(sys.argv[1]))
    with contextlib.suppress(OSError):  # the parent is gone
        Worker(Channel(sock, ToWorker)).run()
    sys.stderr.flush()
    os._exit(0)  # native libraries' exit handlers are not trusted to end


if __name__ == "__main__":
    main()
