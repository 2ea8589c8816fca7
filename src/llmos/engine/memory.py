"""What a model costs in memory, and which others must go for it. Pure, decided from numbers the pool hands in."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from llmos.engine.base import LoadOptions
from llmos.errors import OverCapacity
from llmos.library.base import ModelCard

WORKSPACE_BYTES = 192 * 2**20  # libraries, activations and buffers of one engine: the least seen with the built-in backends
RESERVE = 0.8  # of the memory that is available when the pool starts; the rest is for the system and the page cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """One loaded engine, as the plan sees it. busy: a request holds it. reload_s: what loading it took."""

    key: Hashable
    size_bytes: int
    reload_s: float
    idle_s: float
    busy: bool
    pinned: bool

    @property
    def worth_going(self) -> float:
        """Byte-seconds of idling per second of reloading: large for what is big, unused and cheap to bring back (the idea of
        GreedyDual-Size-Frequency, Cherkasova 1998)."""
        return self.size_bytes * max(self.idle_s, 1e-3) / max(self.reload_s, 1e-3)


def estimate_bytes(card: ModelCard, options: LoadOptions) -> int:
    """Weights, KV cache and workspace of a model before it is loaded; the pool measures the real figure afterwards."""
    weights = card.memory_bytes or card.size_bytes
    kv = options.kv_bytes if options.kv_bytes is not None else card.kv_bytes_per_token * options.context_length
    return weights + kv + WORKSPACE_BYTES


def plan_eviction(
    residents: Sequence[Resident], *, needed_bytes: int, budget_bytes: int, what: str, held_bytes: int = 0
) -> list[Hashable]:
    """Keys to unload so that `needed_bytes` fit the budget, [] when they fit already. held_bytes: of the budget, that jobs hold.

    Raises OverCapacity with the numbers: at once when the model can never fit, with retry_after_s when only jobs and busy ones
    stand in its way.
    """
    if needed_bytes > budget_bytes:
        raise OverCapacity(
            f"{what} needs about {_gb(needed_bytes)}, more than the whole memory budget of {_gb(budget_bytes)}.",
            param="model",
            hint="Use a smaller model or quantisation, a smaller LLMOS_CONTEXT_LENGTH, or raise LLMOS_MEMORY_BUDGET.",
        )
    used = held_bytes + sum(resident.size_bytes for resident in residents)
    going: list[Hashable] = []
    for resident in sorted(residents, key=lambda one: one.worth_going, reverse=True):
        if used + needed_bytes <= budget_bytes:
            break
        if not (resident.busy or resident.pinned):
            going.append(resident.key)
            used -= resident.size_bytes
    if used + needed_bytes > budget_bytes:
        stuck = sum(1 for resident in residents if resident.busy or resident.pinned)
        raise OverCapacity(
            f"{what} needs about {_gb(needed_bytes)}; {_gb(used)} of the memory budget of {_gb(budget_bytes)} are held by "
            f"{stuck} loaded model(s) that are busy or pinned" + (f" and by jobs ({_gb(held_bytes)})." if held_bytes else "."),
            param="model",
            hint="Try again when they are idle, unload one (llmos stop), or raise LLMOS_MEMORY_BUDGET.",
            retry_after_s=5.0,
        )
    return going


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
