"""The other end of broker.py: sessions whose engines are a server's.

    with borrow(settings.run_folder) as lender:            # None when no server is there
        session = lender.session(pool.session(name, load=False))

A Session here reads and writes text itself; only token ids cross the socket.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from llmos.engine.base import Adapter, Engine, Feature, Handle, Request, ScoreItem, ScoreResult
from llmos.engine.broker import Ask, Compute, Describe, Described, ToBorrower, reachable
from llmos.engine.choice import Work
from llmos.engine.session import FixedEngine, Lease, Session
from llmos.engine.wire import Answer, Call, Cancel, Channel, Chunks, News, unpack
from llmos.errors import LLMOSError
from llmos.library.base import ModelCard
from llmos.types import TokenIds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KNOWN_S = 30.0  # how long what was said about an engine is taken to be so


class ServiceGone(LLMOSError):
    """The server whose engines were borrowed has ended. What was asked of it can be asked again when it is back."""

    http_status = 503
    code = "service_gone"


def borrow(folder: Path, *, whose: str = "", shares: bool = False) -> Lender | None:
    """A connection to the server of this home; None when there is none. whose: the job that its work is counted for; shares: whether
    an engine that computes what prompts have in common once is worth loading for it."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        with reachable(folder) as address:
            sock.connect(address)
    except OSError:
        sock.close()
        return None
    return Lender(Channel(sock, ToBorrower), whose, shares)


class Lender:
    """One connection, used from any thread. Once it is lost, all that waits on it fails with ServiceGone, and what comes later too."""

    def __init__(self, channel: Channel, whose: str, shares: bool) -> None:
        self.whose, self.shares = whose, shares
        self._channel = channel
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._lost = False
        self._handles: dict[str, Handle] = {}
        self._calls: dict[int, _Waiting] = {}
        threading.Thread(target=self._read, name="lender", daemon=True).start()

    def session(self, session: Session) -> Session:
        """The same model with the server's engines."""
        return Session(
            card=session.card,
            base=session.base,
            engines=_Engines(self, session.requested, session.base),
            tokenizer=session.tokenizer,
            template=session.template,
            requested=session.requested,
            notice=session.notice,
            context_length=session.context_length,
            adapter=session.adapter,
        )

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Lender:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- for the engines below -----------------------------------------------------------------------------------------
    def describe(self, model: str, features: frozenset[Feature], work: Work) -> Described:
        number = next(self._numbers)
        told = self._wait(number, Describe(number, model, sorted(features), work, self.whose, self.shares))
        assert isinstance(told, Described)
        if told.problem is not None:
            raise told.problem.error()
        return told

    def ask(self, model: str, features: frozenset[Feature], work: Work, request: Request) -> Handle:
        handle = Handle(request, on_cancel=lambda: self._cancel(request.id))
        with self._lock:
            if self._lost:
                raise _gone()
            self._handles[request.id] = handle
        self._send(Ask(model, sorted(features), work, request))
        return handle

    def compute(self, model: str, features: frozenset[Feature], method: str, **fields: Any) -> Answer:
        number = next(self._numbers)
        told = self._wait(number, Compute(model, sorted(features), Call(number, method, **fields)))
        assert isinstance(told, Answer)
        if told.problem is not None:
            raise told.problem.error()
        return told

    def running(self) -> int:
        with self._lock:
            return len(self._handles)

    # -- messages ------------------------------------------------------------------------------------------------------
    def _wait(self, number: int, message: msgspec.Struct) -> Described | Answer:
        waiting = _Waiting()
        with self._lock:
            if self._lost:
                raise _gone()
            self._calls[number] = waiting
        self._send(message)
        waiting.done.wait()
        if waiting.told is None:
            raise _gone()
        return waiting.told

    def _send(self, message: msgspec.Struct) -> None:
        try:
            self._channel.send(message)
        except (OSError, ValueError):
            self._channel.close()  # the reader then fails whoever waits, this one included

    def _cancel(self, name: str) -> None:
        with self._lock:
            known = name in self._handles
        if known:
            self._send(Cancel(name))

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
            while (message := self._channel.receive()) is not None:
                if isinstance(message, News):
                    self._take(message)
                else:
                    with self._lock:
                        waiting = self._calls.pop(message.id, None)
                    if waiting is not None:
                        waiting.told = message
                        waiting.done.set()
        with self._lock:
            self._lost = True
            handles, calls = list(self._handles.values()), list(self._calls.values())
            self._handles.clear()
            self._calls.clear()
        self._channel.close()
        for handle in handles:
            handle.fail(_gone())
        for waiting in calls:
            waiting.done.set()

    def _take(self, news: News) -> None:
        for item in news.items:
            with self._lock:
                handle = self._handles.get(item.id)
                if handle is not None and not isinstance(item, Chunks):
                    del self._handles[item.id]
            if handle is None:
                continue
            if isinstance(item, Chunks):
                for chunk in item.chunks:
                    handle.push(chunk)
            elif item.problem is not None:
                handle.fail(item.problem.error())
            else:
                handle.close()


class _Waiting:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.told: Described | Answer | None = None


def _gone() -> ServiceGone:
    return ServiceGone("The server that lent its engines has ended.", hint="Start it again, or run without one.")


class _Engines:
    """The EngineSource of a borrowed session."""

    def __init__(self, lender: Lender, model: str, card: ModelCard) -> None:
        self._lender, self._model, self._card = lender, model, card
        self._known: dict[tuple[frozenset[Feature], Work], tuple[float, BorrowedEngine]] = {}

    def lease(self, features: frozenset[Feature], work: Work, *, reads: int = 0, writes: int = 0) -> Lease:
        at, engine = self._known.get((features, work), (0.0, None))
        if engine is None or time.monotonic() - at > KNOWN_S:
            engine = BorrowedEngine(self._lender, self._model, self._card, features, work)
            self._known[features, work] = time.monotonic(), engine
        return FixedEngine(engine)


class BorrowedEngine(Engine):
    """An engine of the server as this process sees it. It is leased there for each request anew."""

    memory_bytes = 0
    load_s = 0.0

    def __init__(self, lender: Lender, model: str, card: ModelCard, wanted: frozenset[Feature], work: Work) -> None:
        self.card = card
        self._lender, self._model, self._wanted, self._work = lender, model, wanted, work
        told = lender.describe(model, wanted, work)
        self.backend, self.variant, self.context_length = told.backend, told.variant, told.context_length
        self.features = frozenset(told.features)

    def submit(self, request: Request) -> Handle:
        return self._lender.ask(self._model, self._wanted, self._work, request)

    def score(self, items: Sequence[ScoreItem], *, top: int = 0, adapter: Adapter | None = None) -> list[ScoreResult]:
        return self._compute("score", items=list(items), top=top, adapter=adapter).scores

    def embed(self, inputs: Sequence[TokenIds]) -> NDArray[np.float32]:
        array: NDArray[np.float32] = unpack(self._compute("embed", inputs=list(inputs)).arrays[0])
        return array

    def classify(self, inputs: Sequence[tuple[TokenIds, TokenIds]]) -> NDArray[np.float32]:
        array: NDArray[np.float32] = unpack(self._compute("classify", pairs=list(inputs)).arrays[0])
        return array

    def tag(self, inputs: Sequence[TokenIds]) -> list[NDArray[np.float32]]:
        return [unpack(array) for array in self._compute("tag", inputs=list(inputs)).arrays]

    def fill_mask(self, inputs: Sequence[TokenIds], candidates: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
        wanted = None if candidates is None else list(candidates)
        answer = self._compute("fill_mask", inputs=list(inputs), candidates=wanted)
        return [unpack(array) for array in answer.arrays]

    def running(self) -> int:
        return self._lender.running()

    def close(self) -> None:
        """The server keeps it."""

    def _compute(self, method: str, **fields: Any) -> Answer:
        return self._lender.compute(self._model, self._wanted, method, **fields)
