"""What the tests of jobs share: the plugin's kind "count" in this process, a long job, a server of their own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LONG = {"to": 100_000, "pause_s": 0.01}


def know_count(site: Path) -> None:
    """Registers the kinds of the installed plugin in this process, as its entry point does in others."""
    from llmos.plugins import load_plugins

    if str(site) not in sys.path:
        sys.path.insert(0, str(site))
    load_plugins()
    import llmos_plugin_example.jobs  # type: ignore[import-not-found]  # noqa: F401  # installed for the test only


def until(true: Callable[[], Any], *, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


@contextmanager
def serving(home: Path, env: dict[str, str], *, port: int | None = None) -> Iterator[str]:
    """The address of a real `llmos serve` that is ready; told to stop at the end."""
    port = port or free_port()
    log = home.with_name(f"{home.name}.log")
    command = [sys.executable, "-m", "llmos", "serve", "--port", str(port)]
    with log.open("a") as err, subprocess.Popen(command, env=env | {"LLMOS_HOME": str(home)}, stderr=err) as server:
        try:
            for _ in range(300):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                        break
                except OSError:
                    assert server.poll() is None, log.read_text()
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
            server.terminate()
            assert server.wait(timeout=40) == 0, log.read_text()
        finally:
            server.kill()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
