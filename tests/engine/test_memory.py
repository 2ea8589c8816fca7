"""What must go for a model that comes, from numbers alone."""

from __future__ import annotations

import pytest

from llmos.engine.base import LoadOptions
from llmos.engine.memory import WORKSPACE_BYTES, Resident, estimate_bytes, plan_eviction
from llmos.errors import OverCapacity
from tests.doubles import fake_card

GB = 10**9


def resident(
    key: str, size: float, *, reload_s: float = 1.0, idle_s: float = 1.0, busy: bool = False, pinned: bool = False
) -> Resident:
    return Resident(key=key, size_bytes=int(size * GB), reload_s=reload_s, idle_s=idle_s, busy=busy, pinned=pinned)


def plan(residents: list[Resident], needed: float, budget: float = 10) -> list[object]:
    return list(plan_eviction(residents, needed_bytes=int(needed * GB), budget_bytes=int(budget * GB), what="m"))


def test_nothing_goes_while_there_is_room() -> None:
    assert plan([resident("a", 4), resident("b", 4)], 2) == []


def test_the_longest_idle_goes_first() -> None:
    assert plan([resident("new", 4, idle_s=1), resident("old", 4, idle_s=9)], 3) == ["old"]


def test_what_is_dear_to_reload_stays() -> None:
    assert plan([resident("dear", 4, reload_s=20), resident("cheap", 4, reload_s=1)], 3) == ["cheap"]


def test_as_many_go_as_needed() -> None:
    assert plan([resident("a", 3, idle_s=3), resident("b", 3, idle_s=2), resident("c", 3, idle_s=1)], 6) == ["a", "b"]


def test_busy_and_pinned_ones_stay() -> None:
    assert plan([resident("busy", 3, busy=True), resident("pinned", 3, pinned=True), resident("idle", 3)], 3) == ["idle"]
    with pytest.raises(OverCapacity, match=r"m needs about 5.00 GB; 6.00 GB .* of 10.00 GB .* 2 loaded") as caught:
        plan([resident("busy", 3, busy=True), resident("pinned", 3, pinned=True), resident("idle", 3)], 5)
    assert caught.value.retry_after_s is not None


def test_what_can_never_fit_is_refused_at_once() -> None:
    with pytest.raises(OverCapacity, match=r"needs about 11.00 GB, more than the whole memory budget of 10.00 GB") as caught:
        plan([], 11)
    assert caught.value.retry_after_s is None


def test_the_estimate_counts_weights_and_cache() -> None:
    card = fake_card(memory_bytes=1000, kv_bytes_per_token=10)
    options = LoadOptions(num_threads=1, context_length=100)
    assert estimate_bytes(card, options) == 1000 + 1000 + WORKSPACE_BYTES
    assert estimate_bytes(card, LoadOptions(num_threads=1, context_length=100, kv_bytes=7)) == 1000 + 7 + WORKSPACE_BYTES


def test_what_jobs_hold_is_not_there_for_models() -> None:
    going = plan_eviction([resident("idle", 3)], needed_bytes=4 * GB, budget_bytes=10 * GB, held_bytes=4 * GB, what="m")
    assert going == ["idle"]
    with pytest.raises(OverCapacity, match=r"7\.00 GB .* of 10\.00 GB are held by 0 loaded .* and by jobs \(7\.00 GB\)") as caught:
        plan_eviction([resident("idle", 3)], needed_bytes=4 * GB, budget_bytes=10 * GB, held_bytes=7 * GB, what="m")
    assert caught.value.retry_after_s is not None
