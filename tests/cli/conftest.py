"""Runs the command line as a user does: a process of its own, a home with two models, a pipe or a terminal of 80 columns."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

CHAT = "smollm2-135m-instruct"
COMMAND = [sys.executable, "-m", "llmos"]
Done = subprocess.CompletedProcess[str]
CLI = Callable[..., Done]
_CONTROL = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[=>])")


@pytest.fixture
def cli(user_env: dict[str, str]) -> CLI:
    """cli("run", "Hello", stdin="", code=0, env={}) -> the finished process. Nobody is ever shown a traceback or told of a defect."""

    def run(*arguments: str, stdin: str | bytes = "", code: int = 0, env: Mapping[str, str] | None = None) -> Done:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        environ = user_env | dict(env or {})
        done = subprocess.run([*COMMAND, *arguments], env=environ, input=given, capture_output=True, check=False, timeout=200)
        out, err = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == code, f"exit {done.returncode}\n{out}\n{err}"
        check_stderr(err)
        return Done(done.args, done.returncode, out, err)

    return run


def check_stderr(err: str) -> None:
    assert "Traceback" not in err and "defect" not in err, err


class Terminal:
    """A process behind a pseudo-terminal of 80 columns; `shown` is all that it wrote, without control sequences."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process, self._master, self._raw, self._seen = process, master, b"", 0

    @property
    def shown(self) -> str:
        return _CONTROL.sub("", self._raw.decode(errors="replace")).replace("\r", "")

    def send(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(self, wanted: str, *, timeout_s: float = 120) -> None:
        """Reads until `wanted` is shown after what was waited for before."""
        end = time.monotonic() + timeout_s
        while (place := self.shown.find(wanted, self._seen)) < 0:
            assert self._read(end), f"{wanted!r} does not follow in:\n{self.shown[self._seen :]}"
        self._seen = place + len(wanted)

    def wait_for_more(self, num_letters: int, *, timeout_s: float = 120) -> None:
        """Reads until so many more letters have been shown."""
        end = time.monotonic() + timeout_s
        while len(self.shown) < self._seen + num_letters:
            assert self._read(end), f"no more letters than:\n{self.shown[self._seen :]}"

    def finish(self, timeout_s: float = 60) -> int:
        """Reads to the end; the exit code."""
        end = time.monotonic() + timeout_s
        while self._read(end):
            pass
        return self.process.wait(timeout=timeout_s)

    def _read(self, end: float) -> bool:
        if not select.select([self._master], [], [], max(0.0, end - time.monotonic()))[0]:
            return False
        try:
            piece = os.read(self._master, 65536)
        except OSError:  # how Linux says that the other side is closed
            return False
        self._raw += piece
        return bool(piece)


@pytest.fixture
def terminal(user_env: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    """terminal("chat") -> Terminal. What still runs at the end of the test is killed."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Terminal:
            master, slave = pty.openpty()
            stack.callback(os.close, master)
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            environ = {name: value for name, value in user_env.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
            environ |= {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
            owner = ["setsid", "--ctty", "env", "--default-signal=INT"]  # so that Ctrl-C reaches it, and is heard
            process = stack.enter_context(
                subprocess.Popen([*owner, *COMMAND, *arguments], env=environ, stdin=slave, stdout=slave, stderr=slave)
            )
            stack.callback(process.kill)
            os.close(slave)
            return Terminal(process, master)

        yield start
