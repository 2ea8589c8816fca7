"""The way to the process that is our driver in a Ray cluster (ray_driver.py): starts it, carries frames, keeps what it complains about."""

from __future__ import annotations

import os
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from llmos.infra.files import make_dir
from llmos.kernel.executors.ray_frames import FromDriver, Here, from_driver
from llmos.settings import Settings

_FRAME = re.compile(r"\[0x[0-9a-f]+\]")  # of a native stack
END_S = 5.0  # for a driver to end its actors and itself


class Link:
    """The driver's process and the socket to it. For one thread, which must live as long as the process."""

    def __init__(self, settings: Settings, address: str, silence_s: float, signal: int) -> None:
        self.unsent = bytearray()
        self._command = ["-P", "-m", "llmos.kernel.executors.ray_driver"]
        self._arguments = [str(os.getpid()), address, str(silence_s)]
        self._folder = make_dir(settings.run_folder)  # Ray's workers may import from where their driver was started
        self._signal = signal
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._socket, theirs = socket.socketpair()
        environ = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module; the address was checked by Settings
                [sys.executable, *self._command, str(theirs.fileno()), *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                cwd=self._folder,
                env={**environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"},
            )
        assert self._process.stderr is not None
        self._stderr = self._process.stderr
        self._received = bytearray()
        self._said = bytearray()
        self._late = False
        self._socket.setblocking(False)
        os.set_blocking(self._stderr.fileno(), False)
        self._selector = selectors.DefaultSelector()
        for file in (self._socket, self._stderr, self._signal):
            self._selector.register(file, selectors.EVENT_READ)

    def wait_here(self, end: float, stop: Callable[[], bool]) -> bool:
        while time.monotonic() < end and not stop():
            frames = self.exchange(min(1.0, max(0.0, end - time.monotonic())))
            if frames is None:
                return False
            if any(isinstance(what, Here) for what in frames):
                return True
        self._late = True
        return False

    def exchange(self, timeout_s: float) -> list[FromDriver] | None:
        """Writes what can be written and reads what is there, waiting that long for anything. None: the driver is gone."""
        self._write()
        lines: list[bytes] = []
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._socket:
                if not self._read(lines):
                    return None
            elif key.fileobj is self._stderr:
                self._hear()
            else:
                os.eventfd_read(self._signal)
        return [from_driver(line) for line in lines]

    def why(self) -> str:
        """Why there is no driver any more, in one line."""
        self._hear()
        if self._late:
            return "no answer in time."
        lines = [line.strip() for line in self._said.decode("utf-8", "replace").splitlines()]
        lines = [line for line in lines if line and not _FRAME.search(line)]
        return lines[-1][-500:] if lines else "its process ended."

    def stop(self) -> None:
        """Lets the driver end its actors, and ends it."""
        if self._process is None:
            return
        self._socket.close()
        self._selector.close()
        try:
            self._process.wait(0.0 if self._late else END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()
        self._process = None

    def _read(self, lines: list[bytes]) -> bool:
        try:
            data = self._socket.recv(1 << 18)
        except BlockingIOError:
            return True
        except OSError:
            return False
        start = len(self._received)
        self._received += data
        if (end := self._received.rfind(b"\n", start)) >= 0:
            lines += bytes(self._received[:end]).split(b"\n")
            del self._received[: end + 1]
        return bool(data)

    def _hear(self) -> None:
        try:
            while data := os.read(self._stderr.fileno(), 1 << 16):
                self._said = (self._said + data)[-8192:]
            if self._stderr in self._selector.get_map():
                self._selector.unregister(self._stderr)
        except (BlockingIOError, ValueError):
            pass

    def _write(self) -> None:
        if self.unsent:
            try:
                sent = self._socket.send(self.unsent)
            except BlockingIOError:
                sent = 0
            except OSError:
                sent = len(self.unsent)  # it is gone; reading says so
            del self.unsent[:sent]
        self._selector.modify(self._socket, selectors.EVENT_READ | (selectors.EVENT_WRITE if self.unsent else 0))
