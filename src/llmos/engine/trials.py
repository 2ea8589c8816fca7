"""Tries every engine that runs a model, each in a process of its own, and makes the table that the choice is made from.

The reference is llama.cpp for GGUF, which computes with the weights as the file has them, and transformers for all else: the
first of them that loads. Its output is what the others' is compared with. A candidate that fails, dies or disagrees is in the
table with the reason. The whole takes `limit_s` at most: a candidate that does not load within a third of it, or that the end
interrupts, is listed as skipped, as is one that there was no time or memory for. The skipped are ranked by rule, after the rest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from llmos.engine.base import LoadOptions, backends
from llmos.engine.choice import Candidate, EngineChoice, Measurement, rank
from llmos.engine.choices import Table
from llmos.engine.memory import estimate_bytes
from llmos.engine.probe import TOLERANCE, Sample, agreement, sample
from llmos.engine.supervisor import ProcessEngine
from llmos.errors import DeadlineExceeded, LLMOSError
from llmos.library.base import ModelCard, Resolved
from llmos.text.base import Tokenizer

PROBE_S = 30.0  # what a first load may wait for
PATIENT_S = 240.0  # when somebody asked for the table
LOAD_SHARE = 1 / 3  # of that, for one candidate to load
LEAST_S = 2.0  # a candidate is not begun with less time left, or less than the last one of its engine took


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

    card, deadline = resolved.card, time.monotonic() + limit_s
    notify(f"Measuring which engine runs {card.name} fastest on this machine: once, {limit_s:.0f} s at most.")
    tokenizer = load_tokenizer(resolved.folder)
    samples: dict[str, Sample] = {}
    rows: list[Measurement] = []
    skipped: dict[str, str] = {}
    took_s: dict[str, float] = {}
    for way in _order(card, candidates):
        needed, begun = _needed_bytes(card, way, options), time.monotonic()
        if deadline - begun < took_s.get(way.backend, LEAST_S):
            skipped[way.name] = f"no time left of {limit_s:.0f} s"
            continue
        if needed > budget_bytes:
            skipped[way.name] = f"needs about {needed / 1e9:.1f} GB, the memory budget is {budget_bytes / 1e9:.1f} GB"
            continue
        try:
            row, seen = _try(resolved, way, options, tokenizer, deadline=deadline, load_limit_s=limit_s * LOAD_SHARE)
        except DeadlineExceeded as problem:
            skipped[way.name] = f"not measured: {problem.message}"
            continue
        finally:
            took_s[way.backend] = time.monotonic() - begun
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


def _try(
    resolved: Resolved, way: EngineChoice, options: LoadOptions, tokenizer: Tokenizer, *, deadline: float, load_limit_s: float
) -> tuple[Measurement, Sample | None]:
    """Raises DeadlineExceeded when it does not load or is not done in time."""
    row = Measurement(backend=way.backend, variant=way.variant.name)
    started = time.monotonic()
    try:
        backend = backends.get(way.backend)
        properties = replace(options, properties=way.variant.properties)
        limit_s = min(load_limit_s, deadline - started)
        engine = ProcessEngine(backend, resolved.card, resolved.folder, way.variant, properties, load_limit_s=limit_s)
    except DeadlineExceeded:
        raise
    except LLMOSError as problem:
        return replace(row, why=f"did not load: {problem.message}"), None
    row = replace(row, load_s=time.monotonic() - started, memory_bytes=engine.memory_bytes)
    clock = threading.Timer(max(deadline - time.monotonic(), 0.0), engine.close)  # ends what runs, with an error
    clock.start()
    try:
        seen = sample(engine, tokenizer)
    except LLMOSError as problem:
        if time.monotonic() > deadline:
            raise DeadlineExceeded("The end of the probe's time came first.") from None
        return replace(row, why=f"failed: {problem.message}"), None
    finally:
        clock.cancel()
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
