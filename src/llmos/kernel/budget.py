"""The memory of this machine that LLMOS may use, as one book: loaded engines and running jobs stand in it side by side.

    reserve (an estimate, before it is taken) -> adjust (measured, once it is) -> free

Who wants more than is left is refused with the numbers. The book decides nothing else: what must go for what comes is decided by
who owns the entries (engine/memory.py for engines, the runner for jobs).
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass

from llmos.errors import OverCapacity


@dataclass(frozen=True, slots=True)
class Holding:
    """One entry. what: for people, as "smollm2 (llamacpp/default)" or "job job_… (train)"."""

    owner: Hashable
    size_bytes: int
    what: str


class MemoryBudget:
    """Thread-safe. total_bytes: of all holdings together; only `adjust` may go over it, for what is measured is in use already."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self._lock = threading.Lock()
        self._holdings: dict[Hashable, Holding] = {}

    @property
    def used_bytes(self) -> int:
        with self._lock:
            return self._used()

    @property
    def free_bytes(self) -> int:
        """What `reserve` would still grant; 0 when more is in use than there should be."""
        return max(0, self.total_bytes - self.used_bytes)

    def holdings(self) -> list[Holding]:
        """In the order of their reservation."""
        with self._lock:
            return list(self._holdings.values())

    def reserve(self, owner: Hashable, size_bytes: int, what: str) -> None:
        """Enters `owner`, which must not be there yet. Raises OverCapacity: without retry_after_s when it can never fit."""
        with self._lock:
            assert owner not in self._holdings, f"{what} is in the book already"
            if size_bytes > self.total_bytes:
                raise too_large(what, size_bytes, self.total_bytes)
            if self._used() + size_bytes > self.total_bytes:
                held = "; ".join(f"{holding.what}: {gigabytes(holding.size_bytes)}" for holding in self._holdings.values())
                raise OverCapacity(
                    f"{what} needs about {gigabytes(size_bytes)}; {gigabytes(self._used())} of the memory budget of "
                    f"{gigabytes(self.total_bytes)} are in use ({held}).",
                    hint="Try again when some of it is free, or raise LLMOS_MEMORY_BUDGET.",
                    retry_after_s=5.0,
                )
            self._holdings[owner] = Holding(owner, size_bytes, what)

    def adjust(self, owner: Hashable, size_bytes: int) -> int:
        """Sets what an entry really takes. Returns by how much all together are now over the budget, 0 when they are not. Nothing
        happens to an owner that has been freed."""
        with self._lock:
            before = self._holdings.get(owner)
            if before is not None:
                self._holdings[owner] = Holding(owner, size_bytes, before.what)
            return max(0, self._used() - self.total_bytes)

    def free(self, owner: Hashable) -> None:
        """Idempotent."""
        with self._lock:
            self._holdings.pop(owner, None)

    def _used(self) -> int:
        return sum(holding.size_bytes for holding in self._holdings.values())


def too_large(what: str, size_bytes: int, total_bytes: int) -> OverCapacity:
    """The refusal of what can never fit: trying again is no use."""
    return OverCapacity(
        f"{what} needs about {gigabytes(size_bytes)}, more than the whole memory budget of {gigabytes(total_bytes)}.",
        hint="Ask for less, or raise LLMOS_MEMORY_BUDGET.",
    )


def gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB"
