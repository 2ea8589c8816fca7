"""Tries every engine that runs a model, each in a process of its own, and makes the table that the choice is made from.

The reference is llama.cpp for GGUF, which computes with the weights as the file has them, and transformers for all else: the
first of them that loads. Its output is what the others' is compared with. A candidate that fails, dies or disagrees is in the
table with the reason. No candidate is begun after `limit_s`; what there was no time or memory for is listed as skipped, and
ranked by rule.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from llmos.engine.base import LoadOptions, backends
from llmos.engine.choice import Candidate, EngineChoice, Measurement, rank
from llmos.engine.choices import Table
from llmos.engine.memory import estimate_bytes
from llmos.engine.probe import TOLERANCE, Sample, agreement, sample
from llmos.engine.supervisor import ProcessEngine
from llmos.errors import LLMOSError
from llmos.library.base import ModelCard, Resolved
from llmos.text.base import Tokenizer

PROBE_S = 30.0  # what a first load may wait for
PATIENT_S = 240.0  # when somebody asked for the table


def measure_all(
    resolved: Resolved,
    candidates: Sequence[Candidate],
    options: LoadOptions,
    *,
    budget_bytes: int,
    limit_s: float = PROBE_S,
    notify: Callable[[str], None] = lambda _: None,
) -> Table:
    """The table for one card. Never raises for a candidate; raises what the tokenizer's files raise."""
    from llmos.text.load import load_tokenizer

    card, started = resolved.card, time.monotonic()
    tokenizer = load_tokenizer(resolved.folder)
    samples: dict[str, Sample] = {}
    rows: list[Measurement] = []
    skipped: dict[str, str] = {}
    for way in _order(card, candidates):
        needed = _needed_bytes(card, way, options)
        if time.monotonic() - started > limit_s:
            skipped[way.name] = f"the {limit_s:.0f} s of the probe were over"
        elif needed > budget_bytes:
            skipped[way.name] = f"needs about {needed / 1e9:.1f} GB, the memory budget is {budget_bytes / 1e9:.1f} GB"
        else:
            notify(f"Measuring {way.name} for {card.name} on this machine, once.")
            row, seen = _try(resolved, way, options, tokenizer)
            rows.append(row)
            if seen is not None:
                samples[way.name] = seen
    reference = next(iter(samples), "")
    judged = tuple(_judge(row, samples, reference) for row in rows)
    return Table(measurements=judged, reference=reference, tolerance=TOLERANCE, skipped=skipped)


def _order(card: ModelCard, candidates: Sequence[Candidate]) -> list[EngineChoice]:
    """The reference first, then the default of each engine by rule, then the variants; what must turn the weights into
    another format before it can start comes last."""
    reference = "llamacpp" if card.format == "gguf" else "transformers"
    default = {candidate.backend: candidate.support.variants[0].name for candidate in candidates}
    ways = rank(candidates, (), "mixed")

    def place(way: EngineChoice) -> tuple[bool, bool, bool, float]:
        slow = card.format == "gguf" and way.backend == "transformers"
        return slow, way.variant.name != default[way.backend], way.backend != reference, -way.speed

    return sorted(ways, key=place)


def _needed_bytes(card: ModelCard, way: EngineChoice, options: LoadOptions) -> int:
    """transformers computes with the weights in 32 bits, whatever the file holds."""
    estimate = estimate_bytes(card, options)
    return max(estimate, card.parameters * 4) if way.backend == "transformers" else estimate


def _try(resolved: Resolved, way: EngineChoice, options: LoadOptions, tokenizer: Tokenizer) -> tuple[Measurement, Sample | None]:
    row = Measurement(backend=way.backend, variant=way.variant.name)
    started = time.monotonic()
    try:
        backend = backends.get(way.backend)
        engine = ProcessEngine(
            backend, resolved.card, resolved.folder, way.variant, replace(options, properties=way.variant.properties)
        )
    except LLMOSError as problem:
        return replace(row, why=f"did not load: {problem.message}"), None
    row = replace(row, load_s=time.monotonic() - started, memory_bytes=engine.memory_bytes)
    try:
        seen = sample(engine, tokenizer)
    except LLMOSError as problem:
        return replace(row, why=f"failed: {problem.message}"), None
    finally:
        engine.close()
    row = replace(row, prefill_tok_s=seen.prefill_tok_s, decode_tok_s=seen.decode_tok_s, batch_tok_s=seen.batch_tok_s)
    return row, seen


def _judge(row: Measurement, samples: dict[str, Sample], reference: str) -> Measurement:
    name = f"{row.backend}/{row.variant}"
    if name not in samples:
        return row
    if name == reference:
        return replace(row, agrees=True, why="the reference that the others are compared with")
    agrees, why = agreement(samples[name], samples[reference])
    return replace(row, agrees=agrees, why=("agrees: " if agrees else "does not agree: ") + why)
