"""One answer being written: what was asked, what is there so far, when it ends."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from llmos.engine.backends.transformers.constraints import Matcher
from llmos.engine.backends.transformers.sampling import choose, logprob
from llmos.engine.base import Chunk, Handle
from llmos.errors import LLMOSError
from llmos.types import FinishReason, Sampling


class Job:
    """One request while it runs: its handle, and which of its n answers are still open."""

    def __init__(self, handle: Handle, max_tokens: int) -> None:
        self.handle, self.max_tokens = handle, max_tokens
        self.open = set(range(handle.request.sampling.n))
        self.ended = False
        self.adapter = handle.request.adapter

    @property
    def num_rows(self) -> int:
        """Sequences it occupies: its answers, or the beams they are taken from."""
        return max(self.handle.request.sampling.n, self.handle.request.sampling.num_beams)

    def finish(self, index: int, chunk: Chunk) -> None:
        self.handle.push(chunk)
        self.open.discard(index)
        if not self.open and not self.ended:
            self.ended = True
            self.handle.close()

    def cancel(self) -> None:
        for index in sorted(self.open):
            self.finish(index, Chunk(index=index, finish_reason="cancelled"))

    def fail(self, error: LLMOSError) -> None:
        if not self.ended:
            self.ended = True
            self.handle.fail(error)


@dataclass
class Row:
    """One answer of one job. `take` reads the logits of its newest place, chooses and tells the handle; False at the end."""

    job: Job
    index: int
    sampling: Sampling
    eos: Collection[int]
    prompt: Tensor
    banned: Sequence[int] = ()
    matcher: Matcher | None = None
    generator: torch.Generator | None = None
    output: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.sampling.temperature > 0:
            self.generator = torch.Generator()
            seed = self.sampling.seed
            self.generator.seed() if seed is None else self.generator.manual_seed((seed + self.index) % 2**63)

    @property
    def token(self) -> int:
        return self.output[-1]

    def take(self, logits_V: Tensor) -> bool:
        logits_V = logits_V.float()
        allowed = self._allowed(len(logits_V))
        token = self._choose(logits_V, allowed) if allowed is None or allowed.any() else None
        if token is None or (token in self.eos and not (self.sampling.ignore_eos and self.matcher is None)):
            self.job.finish(self.index, Chunk(index=self.index, finish_reason="stop"))
            return False
        self.output.append(token)
        wanted = self.sampling.logprobs
        entry = () if wanted is None else (logprob(logits_V, token, wanted),)
        done = self._done(token)
        chunk = Chunk(index=self.index, token_ids=(token,), logprobs=entry, finish_reason=done)
        if done:
            self.job.finish(self.index, chunk)
        else:
            self.job.handle.push(chunk)
        return done is None

    def _done(self, token: int) -> FinishReason | None:
        if self.matcher:
            self.matcher.accept(token)
            if self.matcher.done:
                return "stop"
        return "length" if len(self.output) >= self.job.max_tokens else None

    def _allowed(self, num_logits: int) -> Tensor | None:
        """bool [V] or None for all: what the constraint leaves, without `banned`."""
        never = list(self.banned)
        if self.matcher is None and not never:
            return None
        allowed = self.matcher.allowed() if self.matcher else torch.ones(num_logits, dtype=torch.bool)
        allowed[never] = False
        return allowed

    def _choose(self, logits_V: Tensor, allowed: Tensor | None) -> int:
        u = float(torch.rand((), generator=self.generator, dtype=torch.float64)) if self.generator else 0.0
        output = torch.tensor(self.output, dtype=torch.long)
        return choose(logits_V, self.sampling, u, prompt=self.prompt, output=output, allowed_V=allowed)
