"""Refused requests on their way into the audit log, so counted that a flood of them fills no disk and slows no answer.

    note(…) from a request: counts, never waits
    write() from the access thread: the first refusal of its kind as a row, the others of the same minute as one row with `times`

At most KINDS kinds a minute are told apart; what is beyond them is one kind of its own.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from llmos.access.audit import Audit

MINUTE_S = 60.0
KINDS = 100
OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One kind. reason: the code of the error that was answered. client: the address it came from."""

    actor: str
    project: str
    action: str
    reason: str
    client: str


@dataclass(slots=True)
class _Count:
    since: float
    told: bool = False  # whether its first is a row
    more: int = 0


class Refusals:
    """Thread-safe."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._counts: dict[Refusal, _Count] = {}
        self._lock = threading.Lock()

    def note(self, refusal: Refusal) -> None:
        with self._lock:
            if refusal not in self._counts and len(self._counts) >= KINDS:
                refusal = Refusal("", "", OTHERS, refusal.reason, "")
            count = self._counts.get(refusal)
            if count is None:
                self._counts[refusal] = _Count(time.monotonic())
            else:
                count.more += 1

    def write(self, *, all_of_it: bool = False) -> None:
        """Rows for what is due. What cannot be written now stays counted. Raises StorageError."""
        now = time.monotonic()
        with self._lock:
            new = [refusal for refusal, count in self._counts.items() if not count.told]
            over = [refusal for refusal, count in self._counts.items() if all_of_it or now - count.since >= MINUTE_S]
        for refusal in new:
            self._row(refusal)
            with self._lock:
                self._counts[refusal].told = True
        for refusal in over:
            with self._lock:
                more = self._counts[refusal].more
            if more:
                self._row(refusal, times=more, within_s=int(MINUTE_S))
            with self._lock:
                late = self._counts[refusal].more - more  # came while the row was written
                if late:
                    self._counts[refusal] = _Count(now, told=True, more=late)
                else:
                    del self._counts[refusal]

    def _row(self, refusal: Refusal, **more: int) -> None:
        details = {"reason": refusal.reason, "client": refusal.client, **more}
        self._audit.record(refusal.actor, refusal.project, refusal.action, "", "refused", **details)
