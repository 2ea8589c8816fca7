"""An engine in a process of its own that comes back when it dies.

    submit -> worker process -> chunks
                 | dies
                 v
    its requests fail with EngineDied, the next process is started at once, requests that came meanwhile wait for it;
    a request that was running at three deaths in an hour is Quarantined (422) until that hour is over

The same answer ends the suspicion: a request that finishes is cleared.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from llmos.engine.base import Adapter, Backend, Engine, Feature, Handle, LoadOptions, Request, ScoreItem, ScoreResult, Variant
from llmos.engine.process import WorkerProcess
from llmos.engine.turns import called_as
from llmos.engine.wire import Answer, Call, Cancel, Chunks, Ended, Load, Loaded, News, Submit, unpack
from llmos.errors import Cancelled, EngineDied, EngineError, LLMOSError, Quarantined
from llmos.library.base import ModelCard
from llmos.types import TokenIds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_DEATHS = 3  # of an engine by one request, before it is refused
BLAME_S = 3600.0
MAX_BLAMED = 1024
RESTART_PAUSES_S = (0.0, 0.5, 2.0)  # before each try to load again; then the engine is given up


class Blame:
    """Who was running when an engine died, by fingerprint. Bounded; old blame is forgotten. Pure but for the clock given in."""

    def __init__(self) -> None:
        self._deaths: OrderedDict[str, list[float]] = OrderedDict()

    def died(self, fingerprints: Sequence[str], now: float) -> None:
        for name in fingerprints:
            self._deaths.setdefault(name, []).append(now)
            self._deaths.move_to_end(name)
        while len(self._deaths) > MAX_BLAMED:
            self._deaths.popitem(last=False)

    def finished(self, fingerprint: str) -> None:
        self._deaths.pop(fingerprint, None)

    def check(self, fingerprint: str, now: float) -> None:
        """Raises Quarantined."""
        recent = [at for at in self._deaths.get(fingerprint, ()) if now - at < BLAME_S]
        if len(recent) >= MAX_DEATHS:
            raise Quarantined(
                f"This request was running at {len(recent)} deaths of its engine and is refused.",
                hint="Change the request, or use another engine; it is accepted again after an hour.",
            )


class _Pending:
    """A blocking call that waits for its answer."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.done = threading.Event()
        self.answer: Answer | None = None
        self.error: LLMOSError | None = None


class ProcessEngine(Engine):
    """The Engine of the pool's side. Construction loads the model, within load_limit_s; `failed` is set when it cannot come
    back; `restarts`: how often it did."""

    def __init__(
        self,
        backend: Backend,
        card: ModelCard,
        folder: Path,
        variant: Variant,
        options: LoadOptions,
        *,
        load_limit_s: float | None = None,
    ) -> None:
        self.backend, self.variant, self.card = backend.name, variant.name, card
        self.failed: LLMOSError | None = None
        self.restarts = 0
        self._message = Load(type(backend).__module__, backend.name, card, folder, variant, options, list(sys.path))
        self._blame = Blame()
        self._lock = threading.RLock()
        self._handles: dict[str, Handle] = {}
        self._calls: dict[int, _Pending] = {}
        self._numbers = itertools.count()
        self._waiting: list[Submit | Call] = []  # came while there was no process
        self._process: WorkerProcess | None = None
        self._closed = False
        self._load_limit_s = load_limit_s
        self._reported_bytes = 0  # memory_bytes as the engine itself counts
        self._start()

    @property
    def pid(self) -> int | None:
        with self._lock:
            return self._process.pid if self._process is not None else None

    # -- the contract --------------------------------------------------------------------------------------------------
    def submit(self, request: Request) -> Handle:
        handle = Handle(request, on_cancel=lambda: self._cancel(request.id))
        try:
            self._blame.check(_fingerprint(request), time.monotonic())
        except Quarantined as error:
            handle.fail(error)
            return handle
        with self._lock:
            self._refuse_when_gone()
            self._handles[request.id] = handle
            process = self._route(Submit(request))
        self._send(process, Submit(request))
        return handle

    def score(self, items: Sequence[ScoreItem], *, top: int = 0, adapter: Adapter | None = None) -> list[ScoreResult]:
        return self._call(Feature.SCORE, "score", items=list(items), top=top, adapter=adapter).scores

    def embed(self, inputs: Sequence[TokenIds]) -> NDArray[np.float32]:
        array: NDArray[np.float32] = unpack(self._call(Feature.EMBED, "embed", inputs=list(inputs)).arrays[0])
        return array

    def classify(self, inputs: Sequence[tuple[TokenIds, TokenIds]]) -> NDArray[np.float32]:
        array: NDArray[np.float32] = unpack(self._call(Feature.CLASSIFY, "classify", pairs=list(inputs)).arrays[0])
        return array

    def tag(self, inputs: Sequence[TokenIds]) -> list[NDArray[np.float32]]:
        return [unpack(array) for array in self._call(Feature.TAG, "tag", inputs=list(inputs)).arrays]

    def fill_mask(self, inputs: Sequence[TokenIds], candidates: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
        wanted = None if candidates is None else list(candidates)
        answer = self._call(Feature.FILL_MASK, "fill_mask", inputs=list(inputs), candidates=wanted)
        return [unpack(array) for array in answer.arrays]

    def running(self) -> int:
        with self._lock:
            return len(self._handles)

    def measure(self) -> int:
        with self._lock:
            process = self._process
        if process is not None:
            self.memory_bytes = max(self.memory_bytes, process.resident_bytes())
        return self.memory_bytes

    def close(self) -> None:
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
        if process is not None:
            process.close()
        self._fail_all(Cancelled("The model was unloaded."), blame=False)

    # -- messages ------------------------------------------------------------------------------------------------------
    def _call(self, feature: Feature, method: str, **fields: Any) -> Answer:
        if feature not in self.features:
            raise self._cannot(feature)
        pending = _Pending(Call(next(self._numbers), method, priority=called_as(), **fields))
        self._blame.check(_fingerprint(pending.call), time.monotonic())
        with self._lock:
            self._refuse_when_gone()
            self._calls[pending.call.id] = pending
            process = self._route(pending.call)
        self._send(process, pending.call)
        pending.done.wait()
        if pending.error is not None:
            raise pending.error
        assert pending.answer is not None
        if pending.answer.problem is not None:
            raise pending.answer.problem.error()
        return pending.answer

    def _route(self, message: Submit | Call) -> WorkerProcess | None:
        """The process to send to, or None: the message waits for the next one. Under the lock in which it was registered."""
        if self._process is None:
            self._waiting.append(message)
        return self._process

    def _send(self, process: WorkerProcess | None, message: Submit | Call) -> None:
        try:
            if process is not None:
                process.send(message)
        except EngineDied:
            return  # `_died` fails it, with the reason
        except LLMOSError as error:
            self._fail_one(message, error)

    def _cancelled(self, name: str) -> bool:
        handle = self._handles.get(name)
        return handle is None or handle.cancelled.is_set()

    def _cancel(self, name: str) -> None:
        with self._lock:
            process = self._process
        if process is not None:
            with contextlib.suppress(EngineDied):
                process.send(Cancel(name))

    def _receive(self, message: Any) -> None:
        match message:
            case News(items=items):
                for item in items:
                    self._receive(item)
            case Chunks(id=name, chunks=chunks):
                handle = self._handles.get(name)
                if handle is not None:
                    for chunk in chunks:
                        handle.push(chunk)
            case Ended(id=name, problem=problem):
                with self._lock:
                    handle = self._handles.pop(name, None)
                if handle is not None:
                    self._blame.finished(_fingerprint(handle.request))
                    handle.close() if problem is None else handle.fail(problem.error())
            case Answer(id=number):
                with self._lock:
                    pending = self._calls.pop(number, None)
                if pending is not None:
                    self._blame.finished(_fingerprint(pending.call))
                    self._grow(message)
                    pending.answer = message
                    pending.done.set()

    def _grow(self, answer: Answer) -> None:
        """Adds what a call made the engine larger by (a scorer that is loaded on first use)."""
        if answer.memory_bytes > self._reported_bytes:
            self.memory_bytes += answer.memory_bytes - self._reported_bytes
            self._reported_bytes = answer.memory_bytes

    # -- life and death ------------------------------------------------------------------------------------------------
    def _start(self) -> None:
        """Starts a process and gives it what waits. Raises what the load raised."""
        process = WorkerProcess(self._receive, self._died)
        loaded: Loaded = process.load(self._message, self._load_limit_s)
        self.features = frozenset(loaded.features)
        self.load_s, self.context_length = loaded.load_s, loaded.context_length
        self._reported_bytes = loaded.memory_bytes
        self.memory_bytes = max(loaded.memory_bytes, process.resident_bytes())
        with self._lock:
            closed = self._closed
            waiting, self._waiting = self._waiting, []
            self._process = None if closed else process
        if closed:
            process.kill()
        for message in waiting:
            if isinstance(message, Submit) and self._cancelled(message.request.id):
                self._receive(Ended(message.request.id))
            else:
                self._send(process, message)

    def _died(self, process: WorkerProcess, error: EngineDied) -> None:
        with self._lock:
            if self._closed or self._process is not process:
                return
            self._process = None
        self._fail_all(error, blame=True)
        process.kill()
        threading.Thread(target=self._restart, name="engine-restart", daemon=True).start()

    def _restart(self) -> None:
        problem: LLMOSError = EngineError("The engine did not come back.")
        for pause_s in RESTART_PAUSES_S:
            time.sleep(pause_s)
            if self._closed:
                return
            try:
                self._start()
                self.restarts += 1
                return
            except LLMOSError as error:
                problem = error
        self.failed = problem
        self._fail_all(problem, blame=False)

    def _fail_all(self, error: LLMOSError, *, blame: bool) -> None:
        """Fails what the process had; what waits for the next one stays, unless there will be none."""
        with self._lock:
            staying = set() if self._closed or self.failed else {_name(message) for message in self._waiting}
            handles = {name: handle for name, handle in self._handles.items() if name not in staying}
            calls = {name: call for name, call in self._calls.items() if name not in staying}
            self._handles = {name: handle for name, handle in self._handles.items() if name in staying}
            self._calls = {name: call for name, call in self._calls.items() if name in staying}
            if blame:
                suspects = [_fingerprint(h.request) for h in handles.values()] + [_fingerprint(c.call) for c in calls.values()]
                self._blame.died(suspects, time.monotonic())
        for handle in handles.values():
            handle.fail(error)
        for pending in calls.values():
            pending.error = error
            pending.done.set()

    def _fail_one(self, message: Submit | Call, error: LLMOSError) -> None:
        with self._lock:
            handle = self._handles.pop(message.request.id, None) if isinstance(message, Submit) else None
            pending = self._calls.pop(message.id, None) if isinstance(message, Call) else None
        if handle is not None:
            handle.fail(error)
        if pending is not None:
            pending.error = error
            pending.done.set()

    def _refuse_when_gone(self) -> None:
        if self._closed:
            raise EngineError(f"{self.card.ref} was unloaded.", hint="Ask again: it is loaded again.")
        if self.failed is not None:
            raise self.failed


def _name(message: Submit | Call) -> str | int:
    return message.request.id if isinstance(message, Submit) else message.id


def _fingerprint(work: Request | Call) -> str:
    """Equal for equal work, whoever asks: the id, the deadline, its class and how the answer is handed over do not count."""
    plain: Any = (
        replace(work, id="", deadline=None, stream=True, priority="")
        if isinstance(work, Request)
        else msgspec.structs.replace(work, id=0)
    )
    return hashlib.sha256(msgspec.msgpack.encode(plain, enc_hook=str)).hexdigest()
