"""Drawing tokens: against Hugging Face's own logits processors, and against what each number promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from llmos.engine.backends.transformers.batching import by_length, common_prefix, padded
from llmos.engine.backends.transformers.sampling import adjusted, choose, distribution, draw, logprobs
from llmos.types import Sampling

NONE = torch.tensor([], dtype=torch.long)


def logits(size: int = 1000, seed: int = 0, scale: float = 3.0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.7},
        {"temperature": 1.3, "top_k": 40},
        {"top_p": 0.9},
        {"top_p": 0.999},  # beyond the first try: the whole vocabulary is sorted
        {"top_p": 0.01},
        {"min_p": 0.1},
        {"temperature": 1.5, "top_k": 50, "top_p": 0.8, "min_p": 0.05},
    ],
)
def test_distribution_equals_that_of_hugging_face(fields: dict[str, Any], seed: int) -> None:
    given_logits = logits(seed=seed)
    sampling = Sampling(**fields)
    warped = TemperatureLogitsWarper(sampling.temperature)(None, given_logits[None])
    if sampling.top_k:
        warped = TopKLogitsWarper(sampling.top_k)(None, warped)
    if sampling.top_p < 1:
        warped = TopPLogitsWarper(sampling.top_p)(None, warped)
    if sampling.min_p:
        warped = MinPLogitsWarper(sampling.min_p)(None, warped)
    probs, ids = distribution(given_logits, sampling)
    found = torch.zeros(1000).index_copy(0, torch.arange(1000) if ids is None else ids, probs)
    assert torch.allclose(found, warped[0].softmax(0), atol=1e-5)


def test_repetition_penalty_equals_that_of_hugging_face() -> None:
    given_logits, prompt, output = logits(), torch.tensor([5, 5, 9]), torch.tensor([700])
    expected = RepetitionPenaltyLogitsProcessor(1.4)(torch.cat([prompt, output])[None], given_logits[None].clone())[0]
    assert torch.allclose(adjusted(given_logits, Sampling(repetition_penalty=1.4), prompt, output, None), expected)


def test_presence_and_frequency_look_at_the_output_only() -> None:
    given_logits, output = logits(), torch.tensor([3, 3, 4])
    changed = (
        adjusted(given_logits, Sampling(presence_penalty=0.5, frequency_penalty=0.25), torch.tensor([8]), output, None)
        - given_logits
    )
    assert changed[[3, 4, 8]].tolist() == pytest.approx([-1.0, -0.75, 0.0], abs=1e-6)


def test_greedy_takes_the_best_that_is_allowed() -> None:
    given_logits = logits()
    best, second = given_logits.topk(2).indices.tolist()
    allowed = torch.ones(1000, dtype=torch.bool)
    allowed[best] = False
    greedy = Sampling(temperature=0)
    assert choose(given_logits, greedy, 0.5, prompt=NONE, output=NONE) == best
    assert choose(given_logits, greedy, 0.5, prompt=NONE, output=NONE, allowed_V=allowed) == second
    assert choose(given_logits, Sampling(temperature=0, logit_bias={7: 100.0}), 0.5, prompt=NONE, output=NONE) == 7


def test_what_is_not_allowed_is_never_drawn_whatever_the_bias() -> None:
    allowed = torch.zeros(1000, dtype=torch.bool)
    allowed[[11, 12]] = True
    drawn = {
        choose(logits(), Sampling(logit_bias={5: 100.0}, **more), u / 50, prompt=NONE, output=NONE, allowed_V=allowed)
        for u in range(50)
        for more in ({}, {"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.01})
    }
    assert drawn <= {11, 12}


@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30).filter(lambda ps: sum(ps) > 0.01), st.floats(0.0, 1.0, exclude_max=True)
)
def test_draw_gives_each_index_its_share(weights: list[float], u: float) -> None:
    probs = torch.tensor(weights, dtype=torch.float64)
    place = draw(probs, u)
    before = float(probs[:place].sum() / probs.sum())
    assert probs[place] > 0
    assert before - 1e-9 <= u <= before + float(probs[place] / probs.sum()) + 1e-9


def test_logprobs_come_from_the_untouched_logits() -> None:
    rows = torch.stack([logits(seed=1), logits(seed=2)])
    entries = logprobs(rows, torch.tensor([4, 9]), 3)
    expected = rows.log_softmax(-1)
    assert [entry.logprob for entry in entries] == pytest.approx([float(expected[0, 4]), float(expected[1, 9])])
    assert [token for token, _ in entries[1].top] == expected[1].topk(3).indices.tolist()
    assert logprobs(rows, torch.tensor([4, 9]), 0)[0].top == ()


@settings(max_examples=50)
@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 100), st.booleans())
def test_groups_hold_each_index_once_and_keep_the_limit(lengths: list[int], limit: int, equal: bool) -> None:
    groups = by_length(lengths, limit, equal=equal)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[index] for index in group)
        assert len(group) == 1 or len(group) * longest <= limit
        assert not equal or {lengths[index] for index in group} == {longest}


def test_padding_and_common_prefix() -> None:
    assert padded([(1, 2), (3,)], 0) == [[1, 2], [3, 0]]
    assert common_prefix([(1, 2, 3), (1, 2), (1, 2, 9)]) == 2
    assert common_prefix([(1,), (2,)]) == 0
    assert common_prefix([(4, 5, 6)]) == 3
