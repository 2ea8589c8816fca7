"""Attempts as child processes of this one: a process group and a session each, limits on memory and threads, what they print captured.

A child dies with its parent. One warm spare, started when there was work and kept for SPARE_S, spares the next job the start of Python.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from llmos.errors import OverCapacity
from llmos.kernel.executors.base import Attempt, Executor
from llmos.kernel.messages import (
    MAX_MESSAGE_BYTES,
    Beat,
    Ended,
    Event,
    News,
    Ready,
    Start,
    ToAttempt,
    ToRunner,
    decode_to_runner,
    encode,
)
from llmos.kernel.output import Lines, LogLimit

SPARE_S = 30.0
MAX_UNREAD = 256  # messages that the runner has not taken; the child is held back then
MAX_DRAINED = 64  # reads of 64 KiB before the outcome is passed on
END_S = 2.0  # for a child that has closed its socket to be gone


class LocalExecutor(Executor):
    """Its children must be started by a thread that lives as long as they do: the kernel ends them with it (PR_SET_PDEATHSIG)."""

    def __init__(self, *, spare_s: float = SPARE_S) -> None:
        self._spare_s = spare_s
        self._spare: LocalAttempt | None = None
        self._timer: threading.Timer | None = None
        self._attempts: set[LocalAttempt] = set()
        self._lock = threading.Lock()
        self._closed = False

    def start(self, order: Start, wake: Callable[[], None]) -> Attempt:
        line = encode(order)
        with self._lock:
            attempt, self._spare = self._spare, None
            self._attempts = {old for old in self._attempts if old.alive}
            if attempt is None or not attempt.alive:
                attempt = LocalAttempt()
            self._attempts.add(attempt)
        attempt.begin(line, wake)
        return attempt

    def spare(self) -> None:
        with self._lock:
            if self._closed or self._spare_s <= 0:
                return
            if self._spare is None or not self._spare.alive:
                with contextlib.suppress(OverCapacity):  # then there is none
                    self._spare = LocalAttempt()
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(self._spare_s, self._dismiss)
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            attempts = [*self._attempts, *([self._spare] if self._spare else [])]
            self._spare = None
        for attempt in attempts:
            attempt.kill()
        for attempt in attempts:
            attempt.join()

    def _dismiss(self) -> None:
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.kill()


class LocalAttempt(Attempt):
    """One child process, and the thread that reads what it says and prints. Started idle; `begin` gives it its order."""

    def __init__(self) -> None:
        with contextlib.ExitStack() as undo:
            try:
                self._socket, theirs = socket.socketpair()
                undo.callback(self._socket.close)
                with theirs:
                    self._signal = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                    undo.callback(os.close, self._signal)
                    self._process = _spawn(theirs)
            except OSError as problem:
                raise OverCapacity(f"No process could be started for the job: {problem.strerror}.") from None
            undo.pop_all()
        self._wake: Callable[[], None] = lambda: None
        self._inbox: deque[ToRunner] = deque()
        self._room = threading.Condition()
        self._outbox = bytearray()
        self._outgoing = threading.Lock()
        self._life = threading.Lock()  # of the pid: nothing is sent to it once it is reaped
        self._reaped = False
        self._heard_at = time.monotonic()
        self._ended = False
        self._thread = threading.Thread(target=self._read, name=f"job-{self._process.pid}", daemon=True)
        self._thread.start()

    def begin(self, line: bytes, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._heard_at = time.monotonic()
        self._put(line)

    # -- for the runner ----------------------------------------------------------------------------------------------
    def poll(self) -> list[ToRunner]:
        with self._room:
            taken = list(self._inbox)
            self._inbox.clear()
            self._room.notify_all()
        return taken

    def send(self, message: ToAttempt) -> None:
        self._put(encode(message))

    def terminate(self) -> None:
        self._kill(signal.SIGTERM)

    def kill(self) -> None:
        self._kill(signal.SIGKILL)

    @property
    def alive(self) -> bool:
        return not self._ended

    @property
    def heard_at(self) -> float:
        return time.monotonic() if self._inbox else self._heard_at

    @property
    def where(self) -> str:
        return f"process {self._process.pid}"

    def join(self) -> None:
        """Waits for a killed child to be gone and reaped."""
        with self._room:
            self._inbox.clear()
            self._room.notify_all()
        self._thread.join(timeout=10)

    def _put(self, line: bytes) -> None:
        with self._outgoing:
            if not self._ended:
                self._outbox += line + b"\n"
                os.eventfd_write(self._signal, 1)

    def _kill(self, number: signal.Signals) -> None:
        with self._life:
            if not self._reaped:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)

    # -- the reader's thread -----------------------------------------------------------------------------------------
    def _read(self) -> None:
        how = ""
        try:
            with _Reader(self) as reader:
                how = reader.run()
        finally:
            code = self._reap()
            self._end(Ended(how or _told(code)))

    def _deliver(self, messages: Iterable[ToRunner]) -> None:
        with self._room:
            for message in messages:
                self._inbox.append(message)
        self._wake()
        with self._room:
            self._room.wait_for(lambda: len(self._inbox) < MAX_UNREAD or self._reaped)

    def _reap(self) -> int:
        """Waits until the child is a zombie, kills what is left of its group, and lets it go. Its exit code."""
        end = time.monotonic() + END_S
        while os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if time.monotonic() > end:
                self.kill()
            time.sleep(0.002)
        self.kill()
        with self._life:
            self._reaped = True
            return self._process.wait()

    def _end(self, message: Ended) -> None:
        with self._outgoing:
            self._ended = True
            os.close(self._signal)
        self._socket.close()
        with self._room:
            self._inbox.append(message)
        self._wake()


def _spawn(theirs: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own module, no argument from outside
        [sys.executable, "-P", "-m", "llmos.kernel.child", str(theirs.fileno()), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(theirs.fileno(),),
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


class _Reader:
    """Reads the socket and the two pipes of one child until the socket closes."""

    def __init__(self, attempt: LocalAttempt) -> None:
        process = attempt._process
        assert process.stdout is not None and process.stderr is not None
        self._attempt = attempt
        self._pipes = {process.stdout: Lines("info"), process.stderr: Lines("warning")}
        self._limit = LogLimit()
        self._received = bytearray()
        self._selector = selectors.DefaultSelector()
        attempt._socket.setblocking(False)
        self._selector.register(attempt._socket, selectors.EVENT_READ)
        self._selector.register(attempt._signal, selectors.EVENT_READ)
        for pipe in self._pipes:
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ)

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for pipe in self._pipes:
            pipe.close()

    def run(self) -> str:
        """Until the end. Why, when it is not the child's own doing."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._attempt._socket:
                    try:
                        if not self._read_socket():
                            self._drain()
                            return ""
                    except (msgspec.DecodeError, ValueError) as problem:
                        self._attempt.kill()
                        return f"it broke the protocol: {problem}"
                elif key.fileobj is self._attempt._signal:
                    os.eventfd_read(self._attempt._signal)
                else:
                    self._read_pipe(key.fileobj)
            self._write_socket()

    def _read_socket(self) -> bool:
        """False at the end."""
        try:
            data = self._attempt._socket.recv(1 << 18)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        self._attempt._heard_at = time.monotonic()
        start = len(self._received)
        self._received += data
        if (end := self._received.rfind(b"\n", start)) >= 0:
            lines, self._received = self._received[:end], self._received[end + 1 :]
            for line in bytes(lines).split(b"\n"):
                self._take(decode_to_runner(line))
        if len(self._received) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of more than {MAX_MESSAGE_BYTES:,} bytes")
        return True

    def _take(self, message: ToRunner) -> None:
        if isinstance(message, Beat | Ready | News):
            self._attempt._deliver([message])
        else:  # what was printed before is recorded before
            self._drain(rest=not hasattr(message, "checkpoint"))
            self._attempt._deliver([message])

    def _drain(self, *, rest: bool = True) -> None:
        """What lies in the pipes now; with `rest` also an unfinished line and the word about what was cut."""
        for pipe in self._pipes:
            for _ in range(MAX_DRAINED):  # a process of the job's own may go on printing
                if not self._read_pipe(pipe):
                    break
        if rest:
            for lines in self._pipes.values():
                self._print(lines.rest())
            self._log(list(self._limit.rest()))

    def _read_pipe(self, pipe: object) -> bool:
        """False when there was nothing."""
        found = next((one for one in self._pipes if one is pipe), None)
        if found is None or found.closed:
            return False
        try:
            data = os.read(found.fileno(), 1 << 16)
        except BlockingIOError:
            return False
        if not data:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(found)
            return False
        self._print(self._pipes[found].feed(data))
        return True

    def _print(self, events: Iterable[Event]) -> None:
        self._log([kept for event in events for kept in self._limit.admit(event)])

    def _log(self, events: list[Event]) -> None:
        if events:
            self._attempt._deliver([News(events)])

    def _write_socket(self) -> None:
        attempt = self._attempt
        with attempt._outgoing:
            if attempt._outbox:
                try:
                    sent = attempt._socket.send(attempt._outbox)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    sent = len(attempt._outbox)  # it is gone; the end of reading says so
                del attempt._outbox[:sent]
            interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if attempt._outbox else 0)
        self._selector.modify(attempt._socket, interest)


def _told(code: int) -> str:
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code}"
