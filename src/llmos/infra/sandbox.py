"""Work on hostile input in a child process that may use so much memory and time and no more.

Model files and chat templates come from strangers (promises P10, P11, P19, P20). What reads them runs in a child: no secrets
in its environment, no file it may write, a limit on memory, CPU and wall-clock time. One call is one line of JSON each way.

    child = LimitedChild("llmos.text.render:render", memory_bytes=256 << 20, cpu_s=1, wall_s=10)
    text = child.call({"template": ..., "messages": ...})      # starts the child on first use, and again after a death
    child.close()
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from llmos import errors
from llmos.errors import ChildCrashed, LimitExceeded, LLMOSError

__all__ = ["ChildCrashed", "LimitExceeded", "LimitedChild", "call_limited"]

_PROGRAM = Path(__file__).with_name("sandbox_child.py")
_SOURCE_ROOT = Path(__file__).resolve().parents[2]
_START_WALL_S = 60.0
MAX_ANSWER_BYTES = 64 << 20


class LimitedChild:
    """A child process that calls one function, kept between calls. Thread-safe: one call at a time.

    target: "module:function"; the function takes one JSON-able value and returns one.
    memory_bytes: address space of the child, Python itself (about 30 MB) included.
    cpu_s, wall_s: for each call. import_from: further folders to import the target from.
    """

    def __init__(self, target: str, *, memory_bytes: int, cpu_s: float, wall_s: float, import_from: Sequence[Path] = ()) -> None:
        self.target = target
        self.memory_bytes = memory_bytes
        self.cpu_s = cpu_s
        self.wall_s = wall_s
        self._folders = [str(_SOURCE_ROOT), *map(str, import_from)]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None

    def call(self, argument: Any) -> Any:
        """The function's answer. Raises the LLMOSError it raised, LimitExceeded, or ChildCrashed."""
        request = json.dumps({"argument": argument, "cpu_s": self.cpu_s, "wall_s": self.wall_s}).encode() + b"\n"
        with self._lock:
            try:
                if self._process is None or self._process.poll() is not None:
                    self._start()
                return self._decode(self._exchange(request, self.wall_s))
            except (LimitExceeded, ChildCrashed):
                self._end()
                raise

    def close(self) -> None:
        """Ends the child. A later call starts a new one."""
        with self._lock:
            self._end()

    def __enter__(self) -> LimitedChild:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self._end()
        command = [sys.executable, "-I", "-B", str(_PROGRAM), self.target, str(self.memory_bytes), *self._folders]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            cwd="/",
        )
        self._finalizer = weakref.finalize(self, _kill, self._process)
        self._decode(self._exchange(b"", _START_WALL_S))

    def _end(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._process = self._finalizer = None

    def _exchange(self, request: bytes, wall_s: float) -> bytes:
        """Writes the request and reads one line, both within wall_s."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        deadline = time.monotonic() + wall_s
        received = bytearray()
        while not received.endswith(b"\n"):
            left_s = deadline - time.monotonic()
            writers: list[IO[bytes]] = [self._process.stdin] if request else []
            readable, writable, _ = select.select([self._process.stdout], writers, [], max(0.0, left_s))
            if not readable and not writable and left_s <= 0:
                raise self._over("wall-clock time", f"{wall_s:g} s")
            if writable:
                try:
                    request = request[os.write(self._process.stdin.fileno(), request[: select.PIPE_BUF]) :]
                except BrokenPipeError:
                    raise self._death() from None
            if readable:
                piece = os.read(self._process.stdout.fileno(), 1 << 20)
                if not piece:
                    raise self._death()
                received += piece
                if len(received) > MAX_ANSWER_BYTES:
                    raise self._over("answer size", f"{MAX_ANSWER_BYTES:,} bytes")
        return bytes(received)

    def _decode(self, line: bytes) -> Any:
        try:
            told = json.loads(line)
        except (ValueError, RecursionError) as problem:
            raise ChildCrashed(f"The child of {self.target} gave an answer that is not JSON ({type(problem).__name__}).") from None
        if "limit" in told:
            raise self._over("memory", f"{self.memory_bytes:,} bytes")
        if "crash" in told:
            raise ChildCrashed(f"{self.target} failed in its child process: {told['crash']}")
        if "error" in told:
            raise _same_error(told)
        return told.get("result")

    def _over(self, what: str, limit: str) -> LimitExceeded:
        return LimitExceeded(f"{self.target} needed more than its limit of {what}, {limit}.")

    def _death(self) -> LLMOSError:
        """Why the child is gone, by how it ended."""
        assert self._process is not None
        code = self._process.wait()
        if code in (-signal.SIGPROF, -signal.SIGXCPU):
            return self._over("CPU time", f"{self.cpu_s:g} s")
        if code == -signal.SIGALRM:
            return self._over("wall-clock time", f"{self.wall_s:g} s")
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return ChildCrashed(f"The child process of {self.target} ended unexpectedly ({how}).")


def call_limited(
    target: str, argument: Any, *, memory_bytes: int, cpu_s: float, wall_s: float, import_from: Sequence[Path] = ()
) -> Any:
    """One call in a child of its own; for files that are read once. Same errors as LimitedChild.call."""
    with LimitedChild(target, memory_bytes=memory_bytes, cpu_s=cpu_s, wall_s=wall_s, import_from=import_from) as child:
        return child.call(argument)


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait()


def _same_error(told: dict[str, Any]) -> LLMOSError:
    """The error of the child, of the same class where the tree has it."""
    found = getattr(errors, str(told["error"]), LLMOSError)
    cls = found if isinstance(found, type) and issubclass(found, LLMOSError) else LLMOSError
    problem = cls.__new__(cls)
    LLMOSError.__init__(problem, told["message"], param=told["param"], hint=told["hint"], retry_after_s=told["retry_after_s"])
    return problem
