"""A Request in the words of OpenVINO GenAI. One configuration an answer: answer i of n is a request of its own with seed + i."""

from __future__ import annotations

import json
from typing import Any

from llmos.engine.base import Request
from llmos.types import Constraint


def generation_config(request: Request, index: int, ends: tuple[int, ...]) -> Any:
    """The openvino_genai.GenerationConfig of answer `index`. ends: ids that end an answer."""
    import secrets

    import openvino_genai as genai

    sampling = request.sampling
    config = genai.GenerationConfig()
    config.max_new_tokens = sampling.max_tokens
    config.apply_chat_template = False
    config.ignore_eos = sampling.ignore_eos and sampling.constraint is None  # nothing but the end may follow a whole constraint
    if ends and not config.ignore_eos:
        config.eos_token_id, config.stop_token_ids = ends[0], set(ends)
    config.do_sample = sampling.temperature > 0
    if config.do_sample:
        config.temperature, config.top_p, config.min_p = sampling.temperature, sampling.top_p, sampling.min_p
        if sampling.top_k:
            config.top_k = sampling.top_k
        config.rng_seed = secrets.randbits(31) if sampling.seed is None else sampling.seed + index
    config.presence_penalty, config.frequency_penalty = sampling.presence_penalty, sampling.frequency_penalty
    config.repetition_penalty = sampling.repetition_penalty
    config.logprobs = 0 if sampling.logprobs is None else 1
    if sampling.constraint:
        config.structured_output_config = genai.StructuredOutputConfig(**_structure(sampling.constraint))
    return config


def _structure(constraint: Constraint) -> dict[str, str]:
    match constraint.kind:
        case "regex":
            return {"regex": str(constraint.value)}
        case "grammar":
            return {"grammar": str(constraint.value)}
        case "json_object":
            return {"json_schema": '{"type": "object"}'}
        case _:
            return {"json_schema": json.dumps(constraint.value)}
