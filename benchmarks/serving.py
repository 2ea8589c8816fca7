"""A real `llmos serve` for a measurement: on a free port, ready when the block begins, told to stop at its end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READY_S = 60


@contextmanager
def serving(home: Path | None = None) -> Iterator[tuple[int, int]]:
    """(port, process id). home: of its own, with nothing in it; None: the user's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    own = {} if home is None else {"LLMOS_HOME": str(home), "HF_HOME": str(home / "hf"), "LLMOS_PROBE": "0"}
    command = [sys.executable, "-m", "llmos", "serve", "--port", str(port)]
    with subprocess.Popen(command, env=os.environ | own, stderr=subprocess.DEVNULL) as server:
        try:
            _until_ready(port)
            yield port, server.pid
        finally:
            server.terminate()
            server.wait(60)


def _until_ready(port: int) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the server was not ready within {READY_S} s")
