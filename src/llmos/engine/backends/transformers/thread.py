"""One thread owns a loaded model: everything that touches its tensors runs there.

So the engines need no locks around tensors, and OpenMP keeps one pool of threads instead of one per caller. Short work arrives by
`call`; a generator's running batch is moved on by `step`, once between two calls, as long as it says there is more to do. Both
take their turns with the cores (engine/turns.py).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from llmos.engine.base import Request
from llmos.engine.turns import Turns, called_as
from llmos.errors import EngineError

T = TypeVar("T")


class ModelThread:
    """Starts at once. `step` returns whether it wants to be called again; it must not raise. requests: those it has."""

    def __init__(
        self,
        name: str,
        num_threads: int,
        turns: Turns,
        step: Callable[[], bool] = lambda: False,
        requests: Callable[[], Sequence[Request]] = list,
    ) -> None:
        self._step, self._requests, self._turns = step, requests, turns
        self._num_threads = num_threads
        self._tasks: queue.SimpleQueue[tuple[str, Callable[[], None]] | None] = queue.SimpleQueue()  # with their priorities
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T]) -> T:
        """Runs it on the thread and returns its result or raises what it raised; EngineError after `close`."""
        future: Future[T] = Future()

        def task() -> None:
            try:
                future.set_result(function())
            except BaseException as problem:  # noqa: BLE001 - handed to the caller, whatever it is
                future.set_exception(problem)

        with self._lock:
            if self._closed:
                raise EngineError("The engine is closed.", hint="Load the model again.")
            self._tasks.put((called_as(), task))
        return future.result()

    def wake(self) -> None:
        """There is something new for `step`."""
        self._tasks.put(None)

    def close(self) -> None:
        """Waits for the task in progress and those before it. Idempotent; not to be called on the thread itself."""
        with self._lock:
            self._closed = True
        self.wake()
        self._thread.join()
        self._turns.close()
        self._step, self._requests = lambda: False, list  # handles keep this object for `wake`; it must not keep the model

    def _run(self) -> None:
        import torch

        torch.set_num_threads(self._num_threads)
        with torch.inference_mode():
            more = False
            while True:
                due = self._next(wait=not more)
                if due is not None:
                    priority, task = due
                    with self._turns.call(priority, stop=lambda: not self._tasks.empty()):
                        task()
                elif self._closed and self._tasks.empty():
                    return
                more = self._round()

    def _round(self) -> bool:
        requests = self._requests()
        if not requests:
            return self._step()  # it may have something to clear away
        with self._turns.step(requests, stop=lambda: not self._tasks.empty()):
            return self._step()

    def _next(self, *, wait: bool) -> tuple[str, Callable[[], None]] | None:
        if wait:
            self._turns.rest()
        try:
            return self._tasks.get(block=wait)
        except queue.Empty:
            return None


def tensor_bytes(module: Any) -> int:
    """Bytes of a module's parameters and buffers; shared storage counts once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in (*module.parameters(), *module.buffers())}
    return sum(storages.values())
