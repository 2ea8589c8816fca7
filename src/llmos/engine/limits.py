"""What fits a model's context, decided before an engine is asked. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmos.errors import ContextLengthExceeded
from llmos.library.base import ModelCard
from llmos.types import Family, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """context_length: tokens that one sequence may have, as loaded; card.context_length is what the model was made for.
    0 means not known (a remote model): nothing is checked then."""

    card: ModelCard
    context_length: int

    def check(self, num_prompt_tokens: int, num_more_tokens: int, *, param: str) -> None:
        """Raises ContextLengthExceeded with both numbers when they do not fit together."""
        wanted = num_prompt_tokens + num_more_tokens
        if self.context_length and wanted > self.context_length:
            parts = (
                f"{num_prompt_tokens} in the prompt and {num_more_tokens} to write or score" if num_more_tokens else "in the input"
            )
            raise ContextLengthExceeded(
                f"{wanted} tokens ({parts}) do not fit the context of {self.context_length} tokens of {self.card.ref}.",
                param=param,
                hint=self._hint(wanted),
            )

    def fit(self, sampling: Sampling, *, num_prompt_tokens: int, remote: bool) -> Sampling:
        """The sampling with max_tokens set. None becomes what is left of the context; a number too large is an error."""
        if remote:
            return sampling
        own = 0 if self.card.family is Family.SEQ2SEQ else num_prompt_tokens  # an encoder's input takes no room from the answer
        self.check(num_prompt_tokens, 0 if own == 0 else 1, param="prompt")
        if sampling.max_tokens is None:
            return replace(sampling, max_tokens=self.context_length - own)
        self.check(own, sampling.max_tokens, param="max_tokens")
        return sampling

    def _hint(self, wanted: int) -> str:
        if self.card.context_length >= wanted:
            return (
                f"The model itself can take {self.card.context_length}: set LLMOS_CONTEXT_LENGTH={wanted} or more "
                "(it costs memory), shorten the input, or ask for fewer tokens."
            )
        return "Shorten the input, or ask for fewer tokens."
