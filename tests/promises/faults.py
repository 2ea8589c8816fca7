"""Faults as a machine has them: a disk that is full, a disk that fails, no more file handles. Made by the kernel, not by a patch."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.promises import strace

DETACH_S = 3.0


def why_no_tmpfs() -> str:
    """Why no small disk can be mounted here, "" when it can."""
    if os.geteuid() != 0:
        return "mounting a small tmpfs needs root"
    probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True, check=False)
    return "" if probe.returncode == 0 else f"mounting is not possible here: {probe.stderr.strip()}"


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A disk of that size, mounted at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "llmos-test", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Filler:
    """Takes up room on the disk that holds `folder`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "filler"

    def leave(self, free_bytes: int) -> None:
        """Writes until about that much is free."""
        self.clear()
        with self._path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while (free := self._free()) > free_bytes:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), max(4096, free - free_bytes))
                file.seek(0, os.SEEK_END)

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)

    def _free(self) -> int:
        found = os.statvfs(self._path.parent)
        return found.f_bavail * found.f_frsize


class Injection:
    """hits: how often the fault was given, after the block."""

    hits = 0


@contextlib.contextmanager
def injected(pid: int, syscall: str, error: str, when: str, log: Path) -> Iterator[Injection]:
    """While the block runs, the calls `syscall` of the process fail with `error`; `when` counts them in each thread, as strace has
    it: "3" the third one, "2+" all from the second on."""
    options = [
        "-f",
        "-e",
        f"trace={syscall}",
        "-e",
        f"inject={syscall}:error={error}:when={when}",
        "-e",
        "signal=none",
        "-o",
        str(log),
    ]
    found = Injection()
    with subprocess.Popen(["strace", *options, "-p", str(pid)], stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        first = tracer.stderr.readline()
        assert "attached" in first, first
        time.sleep(0.1)  # the other threads
        try:
            yield found
        finally:
            _detach(tracer)
    found.hits = log.read_text(errors="replace").count("(INJECTED)")


def _detach(tracer: subprocess.Popen[str]) -> None:
    """By SIGINT. strace waits for ever when a thread is in the middle of a vfork at that moment; a tracer that is gone lets
    everybody go as well."""
    time.sleep(0.3)
    tracer.send_signal(signal.SIGINT)
    try:
        tracer.wait(timeout=DETACH_S)
    except subprocess.TimeoutExpired:
        tracer.kill()
        tracer.wait()


def why_no_injection() -> str:
    return strace.why_not()
