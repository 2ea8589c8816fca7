"""The process of one attempt. Started by executors/local.py, spoken to in JSON lines over the socket whose descriptor it is given.

    python -P -m llmos.kernel.child FD PARENT_PID

It ends when the outcome is acknowledged, or with its parent: the kernel kills it then, and a parent that only closed the socket
is noticed too. It may wait for its order for a while (the warm spare), so nothing heavy is imported before that.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import msgspec

from llmos.kernel.attempt import InnerAttempt
from llmos.kernel.base import Job
from llmos.kernel.compute import Compute, Steps
from llmos.kernel.messages import MAX_ORDER_BYTES, Ready, Start, ToRunner, Wanted, decode_to_attempt, encode
from llmos.settings import Settings

_PR_SET_PDEATHSIG = 1
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS")


def main() -> NoReturn:
    bind_to_parent(int(sys.argv[2]))
    runner = socket.socket(fileno=int(sys.argv[1]))
    lock = threading.Lock()

    def send(message: ToRunner) -> None:
        line = encode(message) + b"\n"
        try:
            with lock:
                runner.sendall(line)
        except OSError:
            end_group()

    send(Ready())
    lines = read_lines(runner)
    order = decode_to_attempt(next(lines, b""))
    assert isinstance(order, Start)
    limit(order.cores, order.job.resources.memory_bytes)
    sys.path[:] = order.search_path
    attempt = InnerAttempt(order, send, turns)
    signal.signal(signal.SIGTERM, lambda *_: stop(attempt))

    def listen() -> None:
        with contextlib.suppress(msgspec.DecodeError):
            for line in lines:
                attempt.deliver(decode_to_attempt(line))
        end_group()

    threading.Thread(target=listen, name="runner", daemon=True).start()
    attempt.run()
    os._exit(0)  # a library's thread must not keep a finished job alive


def bind_to_parent(parent: int) -> None:
    """The kernel kills this process when the parent ends, and sooner than the parent when memory runs out."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that
        os._exit(1)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def stop(attempt: InnerAttempt) -> None:
    """SIGTERM: to the whole service, by who stops it, so the job ends as it does when the service stops; or by the runner, after the
    job has not done what was wanted, and then this is its end."""
    if attempt.wanted is not None:
        os._exit(143)
    threading.Thread(target=attempt.deliver, args=(Wanted("stop"),), daemon=True).start()  # it takes locks, a handler must not


def limit(cores: int, memory_bytes: int) -> None:
    """Threads of the numeric libraries, memory that can be written (mapped model files do not count), no core dumps."""
    for name in _THREADS:
        os.environ[name] = str(max(1, cores))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def turns(job: Job, settings: Settings) -> Steps | None:
    """How a job that computes shares the cores with the engines and the other jobs of this machine."""
    return Steps(Compute(settings.run_folder), job.priority) if job.resources.cores else None


def read_lines(runner: socket.socket) -> Iterator[bytes]:
    """Lines without their end, until the runner closes. A longer one than a message may be ends them too."""
    received = b""
    while len(received) <= MAX_ORDER_BYTES:
        try:
            data = runner.recv(1 << 16)
        except OSError:
            return
        if not data:
            return
        *lines, received = (received + data).split(b"\n")
        yield from lines


def end_group() -> NoReturn:
    """The runner is gone: nothing of this attempt counts any more, its own child processes included."""
    with contextlib.suppress(OSError):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
