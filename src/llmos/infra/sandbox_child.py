"""The program inside a limited child process. Started by sandbox.py, by file name, in Python's isolated mode.

It reads JSON lines from its standard input, calls one function for each and writes one JSON line back. Before it imports
that function it gives up what it will not need: memory over the limit, files to write, descriptors. Each call runs under a
CPU timer and a wall-clock timer whose signals end the process; nothing in Python can catch them. Only the standard library
is imported here, so that it starts in a few hundredths of a second.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

NUM_FILES = 64


def limit(memory_bytes: int) -> None:
    """Address space, open files, no file written, no core dumped. Raising any of them again is not possible."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (NUM_FILES, NUM_FILES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def failure(problem: BaseException) -> dict[str, Any]:
    """What the parent needs to raise the same error: LLMOS's own by class name, others as a crash, memory as a limit."""
    if isinstance(problem, MemoryError):
        return {"limit": "memory"}
    if any(cls.__name__ == "LLMOSError" and cls.__module__ == "llmos.errors" for cls in type(problem).__mro__):
        fields = {name: getattr(problem, name) for name in ("message", "param", "hint", "retry_after_s")}
        return {"error": type(problem).__name__, **fields}
    return {"crash": f"{type(problem).__name__}: {str(problem)[:500]}"}


def answer(function: Callable[[Any], Any], argument: Any, cpu_s: float, wall_s: float) -> bytes:
    """One call under its timers, as the line to send back."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime + cpu_s) + 1, hard))
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, 2 * wall_s)  # the parent ends it at wall_s; this is for a parent that died
    try:
        line = json.dumps({"result": function(argument)})
    except BaseException as problem:  # noqa: BLE001 - whatever happened is told to the parent
        line = json.dumps(failure(problem))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return line.encode() + b"\n"


def load(target: str) -> Callable[[Any], Any]:
    """The function of 'module:function'."""
    module, _, name = target.partition(":")
    function: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
    return function


def serve(target: str, memory_bytes: int, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers every line until the input ends, which it does when the parent goes."""
    limit(memory_bytes)
    try:
        function = load(target)
    except BaseException as problem:  # noqa: BLE001 - told to the parent, as in answer()
        send(answers, json.dumps(failure(problem)).encode() + b"\n")
        return
    send(answers, b'{"ready": true}\n')
    for line in requests:
        request = json.loads(line)
        send(answers, answer(function, request["argument"], request["cpu_s"], request["wall_s"]))


def send(answers: BinaryIO, line: bytes) -> None:
    answers.write(line)
    answers.flush()


def main() -> None:
    target, memory_bytes, folders = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    sys.path[:0] = folders  # where the parent found `llmos`
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is not an answer
    sys.setrecursionlimit(2000)
    serve(target, memory_bytes, sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
