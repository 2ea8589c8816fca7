"""The keyword arguments of everything that generates, and their way into a `Sampling`.

One TypedDict serves `generate_text`, `chat`, `stream`, `translate` and `summarize`, in process and over HTTP, so that an editor
completes them and a wrong one is an error that names it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypedDict

from llmos.errors import InvalidValue, did_you_mean
from llmos.types import Constraint, Sampling

DEFAULT_MAX_TOKENS = 128


class Options(TypedDict, total=False):
    """How to generate. Names follow the OpenAI API and Hugging Face; see `llmos.types.Sampling` for units and ranges.

    max_tokens defaults to 128 (the result's finish_reason is "length" when it was reached); None means all that is left of the
    context. stop: one text or several. json_schema, regex and grammar constrain the output; at most one of them.
    """

    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int | None
    stop: str | Sequence[str]
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    logit_bias: dict[int, float]
    logprobs: int | None
    n: int
    ignore_eos: bool
    num_beams: int
    json_schema: dict[str, Any] | None
    json_object: bool
    regex: str | None
    grammar: str | None


_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (0, math.inf),
    "min_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "repetition_penalty": (0.01, 10),
    "logprobs": (0, 20),
    "n": (1, 16),
    "num_beams": (1, 16),
    "max_tokens": (1, math.inf),
}
_CONSTRAINTS = ("json_schema", "json_object", "regex", "grammar")


def sampling_from(options: Options, *, default_max_tokens: int | None = DEFAULT_MAX_TOKENS) -> Sampling:
    """Checks every field. Raises InvalidValue naming the field and its range, or an unknown name with the nearest known."""
    known = [field.name for field in fields(Sampling) if field.name != "constraint"] + list(_CONSTRAINTS)
    values: dict[str, Any] = dict(options)
    for name in values:
        if name not in known:
            raise InvalidValue(f"Unknown option {name!r}.", param=name, hint=did_you_mean(name, known, limit=30))
    for name, (low, high) in _RANGES.items():
        value = values.get(name)
        if value is not None and not (isinstance(value, int | float) and low <= value <= high):
            raise InvalidValue(f"{name} is {value!r}; it must be a number from {low} to {high}.", param=name)
    stop = values.pop("stop", ())
    values["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    values.setdefault("max_tokens", default_max_tokens)
    values["constraint"] = _constraint({name: values.pop(name, None) for name in _CONSTRAINTS})
    return Sampling(**values)


def _constraint(given: dict[str, Any]) -> Constraint | None:
    wanted = [name for name, value in given.items() if value not in (None, False)]
    if len(wanted) > 1:
        raise InvalidValue(f"{' and '.join(wanted)} exclude each other.", param=wanted[1], hint="Keep one of them.")
    if not wanted:
        return None
    kind = wanted[0]
    return Constraint(kind=kind, value=None if kind == "json_object" else given[kind])  # type: ignore[arg-type]  # one of _CONSTRAINTS
