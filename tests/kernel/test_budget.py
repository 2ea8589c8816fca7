"""The book of the memory: never over the budget by a reservation, whoever asks at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.errors import OverCapacity
from llmos.kernel.budget import MemoryBudget

GB = 10**9


def test_reserve_adjust_free() -> None:
    budget = MemoryBudget(10 * GB)
    budget.reserve("model", 4 * GB, "smollm2 (llamacpp/default)")
    budget.reserve("job", 5 * GB, "job 1 (train)")
    assert (budget.used_bytes, budget.free_bytes) == (9 * GB, GB)
    assert budget.adjust("model", 3 * GB) == 0
    assert budget.adjust("model", 7 * GB) == 2 * GB  # measured: it is in use already
    assert budget.free_bytes == 0
    budget.free("job")
    budget.free("job")
    assert budget.free_bytes == 3 * GB
    assert [(one.owner, one.size_bytes) for one in budget.holdings()] == [("model", 7 * GB)]


def test_a_refusal_says_the_numbers_and_who_holds_them() -> None:
    budget = MemoryBudget(10 * GB)
    budget.reserve("job", 6 * GB, "job 1 (train)")
    with pytest.raises(
        OverCapacity, match=r"m needs about 5\.00 GB; 6\.00 GB .* of 10\.00 GB are in use \(job 1 \(train\): 6\.00 GB\)"
    ) as caught:
        budget.reserve("m", 5 * GB, "m")
    assert caught.value.retry_after_s is not None
    with pytest.raises(OverCapacity, match=r"needs about 11\.00 GB, more than the whole memory budget of 10\.00 GB") as never:
        budget.reserve("m", 11 * GB, "m")
    assert never.value.retry_after_s is None
    assert budget.used_bytes == 6 * GB


def test_an_owner_that_was_freed_stays_out() -> None:
    budget = MemoryBudget(GB)
    budget.reserve("a", 10, "a")
    budget.free("a")
    assert budget.adjust("a", 100) == 0
    assert budget.used_bytes == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60), st.booleans()), max_size=80))
def test_reservations_never_exceed_the_budget(steps: list[tuple[int, int, bool]]) -> None:
    budget, held = MemoryBudget(100), dict[int, int]()
    for owner, size, take in steps:
        if take and owner not in held:
            try:
                budget.reserve(owner, size, str(owner))
                held[owner] = size
            except OverCapacity:
                assert sum(held.values()) + size > 100
        elif not take:
            budget.free(owner)
            held.pop(owner, None)
        assert budget.used_bytes == sum(held.values()) <= 100


def test_many_threads_at_once_get_what_there_is_and_no_more() -> None:
    budget = MemoryBudget(50)

    def ask(number: int) -> bool:
        try:
            budget.reserve(number, 10, str(number))
        except OverCapacity:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(100))) == 5
    assert budget.used_bytes == 50
