"""What the native backends share: log-probabilities from logits in numpy, common prefixes, the memory of this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmos.types import TokenLogprob

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over the last axis, in float32 with the maximum taken out."""
    import numpy as np

    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)).astype(np.float32)
    return result


def token_logprob(logits: NDArray[np.float32], token: int, top: int) -> TokenLogprob:
    """The log-probability of `token` under [V] logits and the `top` likeliest tokens, best first."""
    import numpy as np

    logprobs = log_softmax(logits)
    best: list[int] = []
    if top:
        near = np.argpartition(-logprobs, top - 1)[:top] if top < len(logprobs) else np.arange(len(logprobs))
        best = near[np.argsort(-logprobs[near], kind="stable")].tolist()
    return TokenLogprob(token, float(logprobs[token]), tuple((one, float(logprobs[one])) for one in best))


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences share from the start."""
    length = min(len(first), len(second))
    for place in range(length):
        if first[place] != second[place]:
            return place
    return length


def shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, leaving each at least one of its own. 0 for no prompts."""
    if not prompts:
        return 0
    return min(min(common_prefix(prompts[0], one), len(one) - 1) for one in prompts)


def resident_bytes() -> int:
    """Resident memory of this process now."""
    with Path("/proc/self/statm").open() as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
