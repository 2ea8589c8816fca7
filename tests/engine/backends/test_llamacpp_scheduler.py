"""The scheduler and the sampler of the llamacpp engine: pure, without a model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.engine.backends.llamacpp.sampling import Sampler, candidates
from llmos.engine.backends.llamacpp.scheduler import EXACT_PIECE, Admission, Row, Slots, plan
from llmos.engine.backends.native import log_softmax, shared_prefix, token_logprob
from llmos.types import Sampling


def finished(slots: Slots, row: Row) -> None:
    row.computed = len(row.tokens)
    slots.finish(row)


def test_an_idle_slot_with_the_longest_prefix_is_taken_over() -> None:
    slots = Slots(num_slots=3, num_cells=100)
    first, second = Row((1, 2, 3, 4), 2), Row((1, 2, 9), 2)
    for row in (first, second):
        assert slots.admit(row)
    finished(slots, first)
    finished(slots, second)
    again = Row((1, 2, 3, 4), 2)
    assert slots.admit(again) == Admission(first.slot, first.slot, 3)
    assert again.computed == 3  # all but the last token, whose logits are needed


@pytest.mark.parametrize("exact", [False, True])
def test_a_prefix_is_shared_only_with_its_salt(exact: bool) -> None:
    prompt = tuple(range(3 * EXACT_PIECE))
    slots = Slots(num_slots=4, num_cells=100 * EXACT_PIECE)
    reused = []
    for salt in ("red", "red", "blue", "blue"):
        row = Row(prompt, 2, exact=exact, salt=salt)
        assert slots.admit(row)
        reused.append(row.reused > 0)
        finished(slots, row)
    assert reused == [False, True, False, True]
    running = Row(prompt, 2, exact=exact, salt="red")
    slots.admit(running)
    running.computed = len(prompt)
    beside = Row(prompt, 2, salt="green")
    assert slots.admit(beside)
    assert beside.reused == 0


def test_a_running_prefix_is_copied() -> None:
    slots = Slots(num_slots=2, num_cells=100)
    first = Row((1, 2, 3), 2)
    slots.admit(first)
    first.computed = 2
    admission = slots.admit(Row((1, 2, 7), 2))
    assert admission is not None
    assert (admission.source, admission.length) == (first.slot, 2) and admission.slot != first.slot


def test_an_exact_row_alone_reuses_whole_pieces_of_the_last_ones_prompt_only() -> None:
    slots, prompt = Slots(num_slots=3, num_cells=1000), tuple(range(150))
    other, first = Row(prompt, 5), Row(prompt, 5, exact=True)
    slots.admit(other)
    finished(slots, other)
    admission = slots.admit(first)
    assert admission and (admission.length, admission.evict) == (0, (other.slot,))
    assert [piece.count for piece in plan([first], budget=1000)] == [EXACT_PIECE]
    finished(slots, first)
    again = slots.admit(Row(prompt + tuple(range(7)), 5, exact=True))
    assert again and (again.slot, again.length) == (first.slot, 2 * EXACT_PIECE)


def test_an_exact_row_that_others_joined_leaves_nothing_to_reuse() -> None:
    slots, prompt = Slots(num_slots=3, num_cells=1000), tuple(range(150))
    first, joining = Row(prompt, 5, exact=True), Row((500, 501), 5)
    for row in (first, joining):
        slots.admit(row)
    for row in (first, joining):
        finished(slots, row)
    admission = slots.admit(Row(prompt, 5, exact=True))
    assert admission and admission.length == 0 and set(admission.evict) == {first.slot, joining.slot}


def test_cells_of_running_answers_are_never_promised_twice() -> None:
    slots = Slots(num_slots=4, num_cells=10)
    first = Row((1, 2, 3), 4)
    assert slots.admit(first)
    assert slots.admit(Row((4,), 3)) is None  # 7 of 10 are set aside, 4 more do not fit
    assert slots.admit(Row((4,), 2))
    assert slots.reserve(1) is None


def test_the_least_recently_used_prefix_goes_first() -> None:
    slots = Slots(num_slots=4, num_cells=10)
    rows = [Row((number,) * 3, 1) for number in (1, 2)]
    for row in rows:
        slots.admit(row)
        finished(slots, row)
    admission = slots.admit(Row((5,), 5))
    assert admission is not None and admission.evict == (rows[0].slot,)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30), st.booleans()), max_size=40))
def test_no_sequence_of_requests_overfills_the_cache(requests: list[tuple[int, int, bool]]) -> None:
    slots = Slots(num_slots=3, num_cells=64)
    for length, answer, ends in requests:
        row = Row(tuple(range(length)), answer)
        admission = slots.admit(row)
        if admission is None:
            assert slots.running
        elif ends:
            finished(slots, row)
        assert sum(one.cells for one in slots.running.values()) <= 64
        assert not set(slots.running) & set(slots.idle) and not set(slots.free) & (set(slots.running) | set(slots.idle))
        assert sorted([*slots.running, *slots.idle, *slots.free]) == [0, 1, 2]


def test_a_step_takes_decoding_rows_first_then_prompts_up_to_its_budget() -> None:
    decoding, prompt, late = Row((1, 2), 5), Row(tuple(range(10)), 5), Row((7, 8, 9), 5)
    decoding.computed, decoding.tokens = 2, [1, 2, 3]
    pieces = plan([prompt, decoding, late], budget=6)
    assert [(piece.row, piece.count, piece.last) for piece in pieces] == [(decoding, 1, True), (prompt, 5, False)]
    prompt.computed = 5
    pieces = plan([prompt, decoding, late], budget=9)
    assert [(piece.row, piece.count, piece.last) for piece in pieces] == [(decoding, 1, True), (prompt, 5, True), (late, 3, True)]


LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.1], np.float32))


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, {0, 1, 2, 3}),
        ({"top_k": 2}, {0, 1}),
        ({"top_p": 0.5}, {0}),
        ({"top_p": 0.6}, {0, 1}),
        ({"min_p": 0.25}, {0, 1, 2}),
        ({"top_k": 3, "min_p": 0.4}, {0, 1}),
    ],
)
def test_candidates(settings: dict[str, float], kept: set[int]) -> None:
    found, _ = candidates(LOGITS, Sampling(**settings))  # type: ignore[arg-type]
    assert set(found.tolist()) == kept


def test_draws_follow_the_distribution() -> None:
    sampler = Sampler(Sampling(temperature=1.0, seed=1), prompt=())
    counts = np.bincount([sampler.next(LOGITS) for _ in range(4000)], minlength=4) / 4000
    assert counts == pytest.approx(np.exp(LOGITS), abs=0.03)


def test_penalties_and_bias() -> None:
    sampler = Sampler(Sampling(temperature=0.0, presence_penalty=0.8), prompt=())
    assert sampler.next(LOGITS) == 0
    sampler.accept(0)
    assert sampler.next(LOGITS) == 1
    assert Sampler(Sampling(temperature=0.0, repetition_penalty=3.0), prompt=(0,)).next(LOGITS) == 1
    assert Sampler(Sampling(temperature=0.0, logit_bias={0: -100.0, 1: -100.0}), prompt=()).next(LOGITS) == 2


def test_logprobs_are_of_the_model_and_sorted() -> None:
    assert np.exp(log_softmax(LOGITS + 3)).sum() == pytest.approx(1.0)
    found = token_logprob(LOGITS + 3, 2, top=3)
    assert found.logprob == pytest.approx(np.log(0.15), abs=1e-5)
    assert [token for token, _ in found.top] == [0, 1, 2]


@pytest.mark.parametrize(
    ("prompts", "length"), [([], 0), ([(1, 2)], 1), ([(1, 2, 3), (1, 2, 4)], 2), ([(1, 2), (1, 2)], 1), ([(5,), (5, 6)], 0)]
)
def test_shared_prefix(prompts: list[tuple[int, ...]], length: int) -> None:
    assert shared_prefix(prompts) == length
