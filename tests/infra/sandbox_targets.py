"""Functions for the limited child of test_sandbox.py: one for each way of behaving well or badly."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from llmos.errors import CorruptFile, MissingExtra

_calls: list[None] = []


def echo(value: Any) -> Any:
    return value


def count(_: Any) -> int:
    _calls.append(None)
    return len(_calls)


def burn(cpu_s: float) -> float:
    start = time.process_time()
    while time.process_time() < start + cpu_s:
        pass
    return cpu_s


def misbehave(how: str) -> Any:
    match how:
        case "corrupt":
            raise CorruptFile("Tensor 3 ends at 900, the file at 800.", param="file", hint="Download it again.")
        case "extra":
            raise MissingExtra("torch", needed_for="This")
        case "bug":
            return dict[str, int]()["missing"]
        case "not json":
            return {1, 2}
        case "memory":
            return len(bytearray(1 << 30))
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "spin":
            while True:
                pass
        case "regex":  # inside C code that never returns to the interpreter
            import re

            return re.match(r"(a+)+$", "a" * 60 + "b") is None
        case "sleep":
            time.sleep(60)
        case "print":
            os.write(1, b'{"result": "forged"}\n')
            return "true answer"
        case "secrets":
            return dict(os.environ)
        case "deep":
            deep: list[Any] = []
            for _ in range(900):
                deep = [deep]
            return deep
    raise AssertionError(how)


def write(path: str) -> int:
    return Path(path).write_text("x")
