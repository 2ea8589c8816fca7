"""Beam search, by transformers' own `generate`: the answers come whole, at the end.

It looks for the most probable answer, so temperature must be 0; what `generate` does not do in a search is refused by name.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from llmos.engine.backends.transformers.rows import Job
from llmos.engine.base import Chunk
from llmos.errors import InvalidValue
from llmos.types import Sampling, TokenIds


def check(sampling: Sampling) -> None:
    """Raises InvalidValue for what cannot be combined with num_beams > 1."""
    clashing = {
        "temperature": sampling.temperature != 0,
        "logprobs": sampling.logprobs is not None,
        "response_format": sampling.constraint is not None,
        "logit_bias": bool(sampling.logit_bias),
        "presence_penalty": sampling.presence_penalty != 0,
        "frequency_penalty": sampling.frequency_penalty != 0,
        "ignore_eos": sampling.ignore_eos,
    }
    for name, clashes in clashing.items():
        if clashes:
            hint = "Set temperature to 0." if name == "temperature" else f"Leave {name} out, or set num_beams to 1."
            raise InvalidValue(
                f"Beam search (num_beams={sampling.num_beams}) cannot be combined with {name}.", param=name, hint=hint
            )
    if sampling.n > sampling.num_beams:
        raise InvalidValue(f"n={sampling.n} answers cannot come from num_beams={sampling.num_beams}.", param="n")


def search(model: Any, job: Job, opening: TokenIds, eos: tuple[int, ...], pad: int) -> None:
    """Runs the search to its end, or to a cancel, and tells the handle. opening: decoder ids of a seq2seq model, () of a causal."""
    request = job.handle.request
    config = copy.deepcopy(model.generation_config)
    config.update(
        num_beams=request.sampling.num_beams,
        num_return_sequences=request.sampling.n,
        repetition_penalty=request.sampling.repetition_penalty,
        max_new_tokens=job.max_tokens,
        max_length=None,
        forced_eos_token_id=None,  # an answer that is cut says so
        min_length=0,
        do_sample=False,
        temperature=None,
        top_k=None,
        top_p=None,
        eos_token_id=list(eos),
        pad_token_id=pad,
    )
    prompt = torch.tensor([request.prompt])
    given = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}
    if opening:
        given["decoder_input_ids"] = torch.tensor([opening])
    found = model.generate(**given, generation_config=config, stopping_criteria=[_Cancelled(job)])
    if job.handle.cancelled.is_set():
        job.cancel()
        return
    skip = len(opening) or prompt.shape[1]
    for index, row in enumerate(found[:, skip:].tolist()):
        end = next((place for place, token in enumerate(row) if token in eos), None)
        ids = tuple(row[: job.max_tokens if end is None else end])
        job.finish(index, Chunk(index=index, token_ids=ids, finish_reason="length" if end is None else "stop"))


class _Cancelled:
    """A stopping criterion: asked after every step of the search."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self._job.handle.cancelled.is_set())
