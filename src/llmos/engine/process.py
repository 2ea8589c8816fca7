"""One engine process, seen from the parent: started, spoken to, and its end noticed. It is never started twice;
engine/supervisor.py makes the next one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from llmos.engine.wire import Channel, Failed, Load, Loaded, Shut, ToParent, ToWorker
from llmos.errors import DeadlineExceeded, EngineDied, EngineError, LLMOSError

TAIL_LINES = 20  # of the process's own messages, kept for the error when it dies


class WorkerProcess:
    """`on_message` gets every message after Loaded, and `on_end` the reason once, both from the reader's thread."""

    def __init__(self, on_message: Callable[[Any], None], on_end: Callable[[WorkerProcess, EngineDied], None]) -> None:
        self._on_message, self._on_end = on_message, on_end
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(  # noqa: S603 - our own module, no argument from outside
                [sys.executable, "-P", "-m", "llmos.engine.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._channel = Channel(ours, ToParent)
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._ended = threading.Event()
        self._stderr = threading.Thread(target=self._read_stderr, name="engine-stderr", daemon=True)
        self._stderr.start()
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        return self._child.pid

    def resident_bytes(self) -> int:
        """Physical memory of the process now, 0 when it is gone."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def load(self, message: Load, limit_s: float | None = None) -> Loaded:
        """Blocks until the model is loaded. Raises what the load raised, EngineDied when the process ended over it, and
        DeadlineExceeded after limit_s."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._child.kill()

        clock = threading.Timer(limit_s or 0.0, stop)
        if limit_s is not None:
            clock.start()
        try:
            self._channel.send(message)
            answer = self._channel.receive()
        except (OSError, msgspec.DecodeError):
            answer = None
        finally:
            clock.cancel()
        if isinstance(answer, Loaded):
            self._reader = threading.Thread(target=self._read, name=f"engine-{self.pid}", daemon=True)
            self._reader.start()
            return answer
        error: LLMOSError = answer.problem.error() if isinstance(answer, Failed) else self._death()
        if late.is_set():
            error = DeadlineExceeded(f"The engine had not loaded after {limit_s:.0f} s.")
        self.kill()
        raise error

    def send(self, message: ToWorker) -> None:
        """Raises EngineDied when the process is gone; `on_end` has been or will be called for it then."""
        try:
            self._channel.send(message)
        except OSError:
            raise EngineDied("The engine process ended.", retry_after_s=1.0) from None

    def close(self, timeout_s: float = 5.0) -> None:
        """Asks it to end, kills it when it does not."""
        with contextlib.suppress(EngineDied, EngineError):
            self.send(Shut())
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """Ends it at once and frees what belongs to it here. Idempotent."""
        self._child.kill()
        self._child.wait()
        self._channel.close()
        self._stderr.join(timeout=2)
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join(timeout=5)

    def _read(self) -> None:
        while True:
            try:
                message = self._channel.receive()
            except (OSError, ValueError, msgspec.DecodeError):
                message = None
            if message is None:
                break
            self._on_message(message)
        self._on_end(self, self._death())

    def _read_stderr(self) -> None:
        assert self._child.stderr is not None
        with self._child.stderr as lines:
            for line in lines:
                self._tail.append(line.decode("utf-8", "replace").rstrip())

    def _death(self) -> EngineDied:
        """The error that says how it ended, with what it said last."""
        try:
            code = self._child.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._child.kill()  # it closed the socket and hangs
            code = self._child.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        self._stderr.join(timeout=2)
        said = f" Its last words: {' | '.join(list(self._tail)[-3:])}" if self._tail and code else ""
        return EngineDied(
            f"The engine process {self.pid} {how} while it worked.{said}",
            hint="It is started again by itself; send the request again.",
            retry_after_s=1.0,
        )
