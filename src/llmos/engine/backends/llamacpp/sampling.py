"""From the logits of one step to the next token, in numpy: penalties, bias, constraint, temperature, top-k, top-p, min-p, draw.

The order is that of Hugging Face's generate. Log-probabilities are those of the model, before any of this. Penalties count
what was generated (presence, frequency: OpenAI API) and prompt plus generated (repetition: Keskar et al. 2019).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from llmos.types import Sampling, TokenIds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Grammar(Protocol):
    """What the output must match, told token by token."""

    def allows(self, token: int) -> bool: ...

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Sets what is not allowed next to -inf, in place."""
        ...

    def accept(self, token: int) -> None: ...

    def close(self) -> None: ...


class Sampler:
    """Draws the tokens of one answer."""

    def __init__(
        self,
        sampling: Sampling,
        *,
        prompt: TokenIds,
        index: int = 0,
        grammar: Grammar | None = None,
    ) -> None:
        import numpy as np

        self._sampling = sampling
        self._grammar = grammar
        self._bias = sampling.logit_bias
        self._seen = set(prompt)
        self._counts: Counter[int] = Counter()
        self._random = np.random.default_rng(None if sampling.seed is None else sampling.seed + index)
        self._plain = (
            not self._bias
            and sampling.repetition_penalty == 1.0
            and not sampling.presence_penalty
            and not sampling.frequency_penalty
        )

    def next(self, logits: NDArray[np.float32]) -> int:
        """One token from [V] logits, which are not changed."""
        if not self._plain:
            logits = self._penalised(logits)
        token = self._draw(logits)
        if self._grammar and not self._grammar.allows(token):
            logits = logits.copy()
            self._grammar.mask(logits)
            token = self._draw(logits)
        return token

    def accept(self, token: int) -> None:
        """Counts a token that was taken."""
        self._counts[token] += 1
        self._seen.add(token)
        if self._grammar:
            self._grammar.accept(token)

    def close(self) -> None:
        if self._grammar:
            self._grammar.close()
            self._grammar = None

    def _penalised(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        import numpy as np

        sampling, logits = self._sampling, logits.copy()
        if sampling.repetition_penalty != 1.0:
            seen = np.fromiter(self._seen, np.int64)
            values = logits[seen]
            logits[seen] = np.where(values > 0, values / sampling.repetition_penalty, values * sampling.repetition_penalty)
        for token, count in self._counts.items():
            logits[token] -= sampling.presence_penalty + sampling.frequency_penalty * count
        for token, bias in self._bias.items():
            logits[token] += bias
        return logits

    def _draw(self, logits: NDArray[np.float32]) -> int:
        import numpy as np

        if self._sampling.temperature <= 0:
            return int(logits.argmax())
        tokens, probabilities = candidates(logits, self._sampling)
        return int(tokens[np.searchsorted(probabilities.cumsum(), self._random.random() * probabilities.sum(), side="right")])


def candidates(logits: NDArray[np.float32], sampling: Sampling) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Tokens that may be drawn and their probabilities (not renormalised), after temperature, top-k, top-p and min-p."""
    import numpy as np

    scaled = logits.astype(np.float64) / sampling.temperature
    tokens = np.flatnonzero(np.isfinite(scaled))
    if 0 < sampling.top_k < len(tokens):
        tokens = tokens[np.argpartition(-scaled[tokens], sampling.top_k - 1)[: sampling.top_k]]
    probabilities = np.exp(scaled[tokens] - scaled[tokens].max())
    probabilities /= probabilities.sum()
    if sampling.top_p < 1.0:
        order = np.argsort(-probabilities)
        before = probabilities[order].cumsum() - probabilities[order]  # mass of what is likelier than each
        kept = order[before < sampling.top_p]
        tokens, probabilities = tokens[kept], probabilities[kept]
    if sampling.min_p > 0:
        kept = np.flatnonzero(probabilities >= sampling.min_p * probabilities.max())
        tokens, probabilities = tokens[kept], probabilities[kept]
    return tokens, probabilities
