"""Lends the engines of a server to the jobs beside it: one budget of memory and cores, and everybody's work passes one door.

    process of a job                          Unix socket of mode 0600 in Settings.run_folder             server
    Session -> Borrowed      --- Describe, Ask, Compute, Cancel -->   Broker -> admit -> pool -> engine
            <- Handle        <-- Described, News, Answer ----------

The frames are those of wire.py with a few messages more. A request waits for its admission like any other, as batch work; what a
connection asked for ends with it. Both ends are of one user: the socket is refused to others. This file is the server's end,
borrow.py the other.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec

from llmos.engine.base import Chunk, Feature, Handle, Request
from llmos.engine.choice import Work
from llmos.engine.outbox import Outbox, answer_of
from llmos.engine.session import Lease, Session
from llmos.engine.wire import Answer, Call, Cancel, Channel, Ended, News, Problem
from llmos.errors import Cancelled
from llmos.infra.files import make_dir
from llmos.infra.logs import get_logger
from llmos.kernel.base import Priority
from llmos.types import Usage

log = get_logger("engine")
SOCKET = "broker.sock"
THREADS = 64  # of one connection: requests that wait for admission or for a load
_PEER = struct.Struct("3i")  # pid, uid, gid

GiveBack = Callable[[int], None]
Admit = Callable[[int, str], GiveBack]
"""Waits for a place for a prompt of so many tokens, for whom; the result gives it back, told how many were written. Raises
OverCapacity, RateLimited."""
Meter = Callable[[str, str, Usage], None]
"""Told of each request that is over: for whom (the job), the model's name, its tokens."""


class Describe(msgspec.Struct, tag=True, frozen=True):
    """Loads what the others will need. whose: the job that asks; shares: whether much of its prompts is the same."""

    id: int
    model: str
    features: list[Feature]
    work: Work
    whose: str = ""
    shares: bool = False


class Described(msgspec.Struct, tag=True, frozen=True):
    id: int
    problem: Problem | None = None
    backend: str = ""
    variant: str = ""
    features: list[Feature] = []
    context_length: int = 0


class Ask(msgspec.Struct, tag=True, frozen=True):
    """A generation; its News come under the request's id."""

    model: str
    features: list[Feature]
    work: Work
    request: Request


class Compute(msgspec.Struct, tag=True, frozen=True):
    """A blocking call; one Answer follows."""

    model: str
    features: list[Feature]
    call: Call


ToBroker = Describe | Ask | Compute | Cancel
ToBorrower = Described | News | Answer


class Broker:
    """sessions: the model of a name as the job that asks may see it, not loaded; True: for prompts that have much in common. `start`
    raises OSError where no socket can be made."""

    def __init__(self, folder: Path, sessions: Callable[[str, str, bool], Session], admit: Admit, meter: Meter) -> None:
        self.folder = folder
        self.sessions, self.admit, self.meter = sessions, admit, meter
        self._listener: socket.socket | None = None
        self._customers: set[_Customer] = set()
        self._lock = threading.Lock()

    def start(self) -> bool:
        """False when another server lends the engines of this home already."""
        with reachable(self.folder) as address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(address)
                return False
            Path(address).unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            before = os.umask(0o177)
            try:
                listener.bind(address)
            finally:
                os.umask(before)
        listener.listen(16)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="broker", daemon=True).start()
        return True

    def close(self) -> None:
        """Ends all connections; what they asked for is cancelled. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        (self.folder / SOCKET).unlink(missing_ok=True)
        with self._lock:
            customers = list(self._customers)
        for customer in customers:
            customer.channel.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return  # closed
            _, uid, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            if uid != os.getuid():
                log.warning("a process of user %d was refused at the broker", uid)
                sock.close()
                continue
            customer = _Customer(self, Channel(sock, ToBroker))
            with self._lock:
                self._customers.add(customer)
            threading.Thread(target=self._serve, args=(customer,), name="broker-customer", daemon=True).start()

    def _serve(self, customer: _Customer) -> None:
        try:
            customer.run()
        finally:
            with self._lock:
                self._customers.discard(customer)


class _Lent:
    """What a running request holds."""

    def __init__(self, model: str, lease: Lease, give_back: GiveBack) -> None:
        self.model, self.lease, self.give_back = model, lease, give_back
        self.written = self.cached = 0


class _Customer(Outbox):
    """One connection, from its first frame to its end."""

    def __init__(self, broker: Broker, channel: Channel) -> None:
        super().__init__(channel)
        self.channel, self.broker = channel, broker
        self.whose, self.shares = "", False
        self._threads = ThreadPoolExecutor(THREADS, "broker-request")
        self._lent: dict[str, _Lent] = {}
        self._waiting: set[str] = set()  # requests without an engine yet
        self._gone: set[str] = set()  # of these, the cancelled ones
        self._ended = False
        self._lock = threading.Lock()

    def run(self) -> None:
        self.start()
        try:
            while (message := self.channel.receive()) is not None:
                match message:
                    case Ask(request=request):
                        with self._lock:
                            self._waiting.add(request.id)
                        self._threads.submit(self._ask, message)
                    case Compute():
                        self._threads.submit(self._compute, message)
                    case Describe():
                        self.whose, self.shares = message.whose or self.whose, message.shares
                        self._threads.submit(self._describe, message)
                    case Cancel(id=name):
                        with self._lock:
                            if name in self._waiting:
                                self._gone.add(name)
                        self.cancel(name)
        except (OSError, ValueError, msgspec.DecodeError) as problem:
            log.info("a connection to the broker broke: %s", problem)
        finally:
            with self._lock:
                self._ended = True
            self.cancel_all()
            self._threads.shutdown(wait=False, cancel_futures=True)
            self.channel.close()

    def _tell(self, message: ToBorrower) -> None:
        with contextlib.suppress(OSError, ValueError):  # the other end is gone; `run` sees it too
            self.channel.send(message)

    def _describe(self, message: Describe) -> None:
        try:
            session = self.broker.sessions(message.model, self.whose, self.shares)
            engine = session.engine_for(frozenset(message.features), message.work)
            told = Described(
                message.id,
                backend=engine.backend,
                variant=engine.variant,
                features=sorted(engine.features),
                context_length=engine.context_length,
            )
        except Exception as problem:  # noqa: BLE001 - an answer to who asked
            told = Described(message.id, Problem.of(problem))
        self._tell(told)

    def _ask(self, message: Ask) -> None:
        request = message.request
        try:
            give_back = self.broker.admit(len(request.prompt), self.whose)
            try:
                self._submit(message, give_back)
            except BaseException:
                give_back(0)
                raise
        except Exception as problem:  # noqa: BLE001 - it belongs to this request
            self._tell(News([Ended(request.id, Problem.of(problem))]))
        finally:
            with self._lock:
                self._waiting.discard(request.id)
                self._gone.discard(request.id)

    def _submit(self, message: Ask, give_back: GiveBack) -> None:
        session = self.broker.sessions(message.model, self.whose, self.shares)
        request = replace(message.request, priority=Priority.BATCH, cache_salt=session.cache_salt)
        writes = request.sampling.n * (request.sampling.max_tokens or 0)
        lease = session.engines.lease(frozenset(message.features), message.work, reads=len(request.prompt), writes=writes)
        try:
            with self._lock:
                if self._ended or request.id in self._gone:
                    raise Cancelled("The request was cancelled while it waited.")
                self._lent[request.id] = _Lent(session.card.name, lease, give_back)
            self.watch(lease.engine.submit(request))
        except BaseException:
            self._lent.pop(request.id, None)
            lease.release()
            raise
        with self._lock:
            late = self._ended or request.id in self._gone
        if late:
            self.cancel(request.id)

    def took(self, handle: Handle, chunks: list[Chunk], *, ended: bool) -> None:
        lent = self._lent.get(handle.request.id)
        if lent is None:
            return
        lent.written += sum(len(chunk.token_ids) for chunk in chunks)
        lent.cached = max([lent.cached, *(chunk.cached_tokens for chunk in chunks)])
        if ended and self._lent.pop(handle.request.id, None) is not None:
            lent.lease.release()
            lent.give_back(lent.written)
            read = len(handle.request.prompt)
            usage = Usage(prompt_tokens=read, completion_tokens=lent.written, cached_tokens=lent.cached)
            self.broker.meter(self.whose, lent.model, usage)

    def _compute(self, message: Compute) -> None:
        call = msgspec.structs.replace(message.call, priority=Priority.BATCH)
        size = sum(map(len, call.inputs)) + sum(len(item.prompt) for item in call.items)
        try:
            give_back = self.broker.admit(size, self.whose)
            try:
                session = self.broker.sessions(message.model, self.whose, self.shares)
                with session.engines.lease(frozenset(message.features), "prefill") as engine:
                    told = answer_of(engine, call)
            finally:
                give_back(0)
            self.broker.meter(self.whose, session.card.name, Usage(prompt_tokens=size))
        except Exception as problem:  # noqa: BLE001 - goes to the caller
            told = Answer(call.id, Problem.of(problem))
        self._tell(told)


@contextlib.contextmanager
def reachable(folder: Path) -> Iterator[str]:
    """The socket's path as a short text: addresses of Unix sockets end at 107 bytes, homes do not."""
    handle = os.open(make_dir(folder), os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET}"
    finally:
        os.close(handle)
