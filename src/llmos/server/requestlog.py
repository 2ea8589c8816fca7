"""The request log: one line of JSON a request in LLMOS_HOME/logs/requests.jsonl, for bills, reports and the feedback loop.

    {"time", "request_id", "key_id", "project", "model", "engine", tokens, "queue_s", "load_s", "ttft_s", "total_s", "status", …}
    with LLMOS_LOG_CONTENTS, or for a project that keeps its contents: "request" and "response", the two bodies

A thread of its own writes, so that no request waits for the disk. A disk that is full or stuck costs lines, not requests: that is
said once in the server's log and counted in llmos_request_log_lost_lines_total. Files roll over by size: requests.jsonl,
requests.jsonl.1, …, the last one goes.
"""

from __future__ import annotations

import itertools
import json
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmos.errors import LLMOSError
from llmos.infra.files import make_dir
from llmos.infra.logs import get_logger
from llmos.infra.redact import redact_value

log = get_logger("server")
FILE_NAME = "requests.jsonl"
MAX_BYTES = 64 * 2**20
KEPT_FILES = 4  # beside the one that is written
MAX_PENDING = 4096


class RequestLog:
    """write() never blocks and never raises. on_lost(n): told of lines that were not written, from any thread."""

    def __init__(
        self, folder: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT_FILES, on_lost: Callable[[int], None] = lambda n: None
    ) -> None:
        self.path = folder / FILE_NAME
        self._max_bytes, self._kept, self._on_lost = max_bytes, kept, on_lost
        self._pending: queue.Queue[dict[str, Any] | None] = queue.Queue(MAX_PENDING)
        self._failing = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def write(self, record: dict[str, Any]) -> None:
        """Secrets in it are replaced before it reaches the disk."""
        try:
            if not self._closed:
                self._pending.put_nowait(record)
                self._start()
        except queue.Full:
            self._lost(1, "the disk is too slow")

    def flush(self) -> None:
        """Waits until everything written so far has reached the file, or is lost."""
        self._pending.join()

    def close(self) -> None:
        """Writes what is left, within seconds. Idempotent."""
        if not self._closed:
            self._closed = True
            if self._thread is not None:
                self._pending.put(None)
                self._thread.join(timeout=5)

    def _start(self) -> None:
        """With the first line: an app that serves nothing has no thread."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="llmos-request-log", daemon=True)
                self._thread.start()

    # -- the thread ----------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        while True:
            records = [self._pending.get()]
            while not self._pending.empty() and len(records) < MAX_PENDING:
                records.append(self._pending.get_nowait())
            lines = [_line(record) for record in records if record is not None]
            if lines:
                self._append(lines)
            for _ in records:
                self._pending.task_done()
            if None in records:
                return

    def _append(self, lines: list[bytes]) -> None:
        try:
            make_dir(self.path.parent)
            if self.path.exists() and self.path.stat().st_size >= self._max_bytes:
                self._roll()
            before = self.path.stat().st_size if self.path.exists() else 0
            with self.path.open("ab", buffering=0) as file:
                if file.write(whole := b"".join(lines)) != len(whole):
                    file.truncate(before)  # half a line would spoil the next one
                    raise OSError("the disk is full")
        except (OSError, LLMOSError) as problem:
            self._lost(len(lines), str(problem))
            return
        if self._failing:
            self._failing = False
            log.info("the request log is written again", extra={"file": str(self.path)})

    def _roll(self) -> None:
        names = [self.path, *(self.path.with_name(f"{FILE_NAME}.{place}") for place in range(1, self._kept + 1))]
        for newer, older in reversed([*itertools.pairwise(names)]):
            if newer.exists():
                newer.replace(older)

    def _lost(self, number: int, why: str) -> None:
        self._on_lost(number)
        if not self._failing:
            self._failing = True
            log.error("the request log cannot be written; requests go on without it", extra={"file": str(self.path), "why": why})


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(redact_value(record), ensure_ascii=True, default=str).encode() + b"\n"
