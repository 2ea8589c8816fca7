"""One loaded engine as the pool keeps it, and what is told about it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from llmos.engine.base import Engine
from llmos.engine.choice import EngineChoice
from llmos.engine.memory import Resident
from llmos.library.base import ModelCard

NEVER = -1.0  # keep_alive_s: until evicted or unloaded


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedInfo:
    """One loaded engine, for `llmos ps`. running: generations in flight. expires_in_s: None when it stays until evicted.
    for_batches: it computes the prompts of batches, and what they have in common once."""

    name: str
    version: str
    engine: str
    variant: str
    why: str
    memory_bytes: int
    context_length: int
    running: int
    idle_s: float
    load_s: float
    expires_in_s: float | None
    pinned: bool
    pid: int | None
    for_batches: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Slot:
    """One loaded engine. `users` requests hold it; only the pool's lock changes these fields. shared_by: whose batches alone it
    serves, computing what their prompts have in common once; None: it serves everything else."""

    card: ModelCard
    choice: EngineChoice
    engine: Engine
    owner: object  # of its entry in the book of the memory
    shared_by: str | None = None
    users: int = 0
    used_at: float = field(default_factory=time.monotonic)
    keep_alive_s: float = NEVER
    pinned: bool = False

    @property
    def idle_s(self) -> float:
        return 0.0 if self.users else time.monotonic() - self.used_at


def resident(slot: Slot) -> Resident:
    return Resident(
        key=id(slot),
        size_bytes=slot.engine.memory_bytes,
        reload_s=slot.engine.load_s,
        idle_s=slot.idle_s,
        busy=slot.users > 0 and slot.shared_by is None,  # what a batch asked is asked again
        pinned=slot.pinned,
    )


def idle_for(over_bytes: int, slots: Iterable[Slot]) -> list[Slot]:
    """Idle engines whose end frees `over_bytes`, those first that are worth least; all that there are when they are not enough."""
    going: list[Slot] = []
    free = [slot for slot in slots if not (slot.users or slot.pinned)]
    for slot in sorted(free, key=lambda slot: resident(slot).worth_going, reverse=True):
        if sum(one.engine.memory_bytes for one in going) < over_bytes:
            going.append(slot)
    return going


def expires_in_s(slot: Slot) -> float | None:
    return None if slot.pinned or slot.keep_alive_s < 0 else slot.keep_alive_s - slot.idle_s


class PoolLease:
    """Holds a slot until `release`; a context manager giving the engine."""

    def __init__(self, give_back: Callable[[Slot], bool], slot: Slot) -> None:
        self.engine = slot.engine
        self._give_back, self._slot, self._released = give_back, slot, False

    def release(self) -> None:
        self._released = self._released or self._give_back(self._slot)

    def __enter__(self) -> Engine:
        return self.engine

    def __exit__(self, *exc: object) -> None:
        self.release()


def restarts(slots: Iterable[Slot]) -> Counter[str]:
    """How often the processes of these engines died and came back, by model."""
    found: Counter[str] = Counter()
    for slot in slots:
        if number := getattr(slot.engine, "restarts", 0):
            found[slot.card.name] += number
    return found


def info(slot: Slot) -> LoadedInfo:
    engine: Any = slot.engine
    return LoadedInfo(
        name=slot.card.name,
        version=slot.card.version,
        engine=slot.choice.backend,
        variant=slot.choice.variant.name,
        why=slot.choice.why,
        memory_bytes=engine.memory_bytes,
        context_length=engine.context_length,
        running=engine.running(),
        idle_s=slot.idle_s,
        load_s=engine.load_s,
        expires_in_s=expires_in_s(slot),
        pinned=slot.pinned,
        pid=getattr(engine, "pid", None),
        for_batches=slot.shared_by is not None,
    )
