"""Which engine serves a model: chosen from measurements of this machine, or by a stated rule while there are none.

Pure. engine/probe.py makes the measurements; the pool asks `rank` and takes the first candidate that has what a request needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmos.engine.base import Feature, Support, Variant

Work = Literal["prefill", "decode", "batch", "mixed"]
"""What an engine is wanted for: reading (score, embed), one answer at a time, many at once, or all of it."""

WORKS: tuple[Work, ...] = ("prefill", "decode", "batch", "mixed")
GOOD_ENOUGH = 0.6  # a loaded engine at this share of the best one's speed is used rather than loading the best one too


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What the probe saw of one candidate. Speeds in tokens/s, 0 when not measured. agrees: its output equals the reference's
    within the stated tolerance. why: how that was decided, or what failed. An engine that does not agree is never chosen."""

    backend: str
    variant: str
    prefill_tok_s: float = 0.0
    decode_tok_s: float = 0.0
    batch_tok_s: float = 0.0
    load_s: float = 0.0
    memory_bytes: int = 0
    agrees: bool = False
    why: str = ""

    def speed(self, work: Work) -> float:
        """Tokens/s for a kind of work; for mixed the geometric mean of the three, in which each doubling counts the same."""
        match work:
            case "prefill":
                return self.prefill_tok_s
            case "decode":
                return self.decode_tok_s
            case "batch":
                return self.batch_tok_s
            case _:
                return math.cbrt(self.prefill_tok_s * self.decode_tok_s * self.batch_tok_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A backend that is installed and runs the card."""

    backend: str
    support: Support
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """One way to serve, with the reason. speed: share of the best candidate's for this work, 1.0 for the best."""

    backend: str
    variant: Variant
    features: frozenset[Feature]
    why: str
    speed: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.backend}/{self.variant.name}"


# The order without measurements, and why. Backends that are not named come after these, by name.
RULES: dict[Work, tuple[tuple[str, ...], str]] = {
    "prefill": (("openvino", "transformers", "llamacpp", "remote"), "reads prompts fastest as a rule"),
    "decode": (
        ("llamacpp", "openvino", "transformers", "remote"),
        "loads in a second and writes single answers fast as a rule",
    ),
    "batch": (("openvino", "llamacpp", "transformers", "remote"), "serves many at once fastest as a rule"),
    "mixed": (("openvino", "llamacpp", "transformers", "remote"), "serves mixed work fastest as a rule"),
}
RULE_STEP = 0.5  # by rule each next candidate is taken to have half the speed: worth loading the better one


def rank(
    candidates: Sequence[Candidate], measurements: Sequence[Measurement], work: Work, *, wanted: str | None = None
) -> list[EngineChoice]:
    """All ways to serve, best first. `wanted` ("openvino" or "openvino/f32-group32") keeps only those.

    With a measurement of any candidate, those measured and in agreement come first, by speed; candidates that were not
    measured follow by rule; those that disagreed or failed are left out, except when `wanted` names one.
    """
    present = [name for name in RULES[work][0] if any(candidate.backend == name for candidate in candidates)]
    ways = [_by_rule(candidate, variant, work, present) for candidate in candidates for variant in candidate.support.variants]
    if wanted:
        return [choice for choice in ways if wanted in (choice.backend, choice.name)]
    table = {f"{one.backend}/{one.variant}": one for one in measurements}
    best = max((one.speed(work) for one in table.values() if one.agrees), default=0.0)
    measured = [_by_measurement(way, table[way.name], best, work) for way in ways if way.name in table and table[way.name].agrees]
    measured.sort(key=lambda choice: choice.speed, reverse=True)
    rest = [way for way in ways if way.name not in table]
    order = {candidate.backend: place for place, candidate in enumerate(candidates)}
    first = {candidate.backend: candidate.support.variants[0].name for candidate in candidates}
    rest.sort(key=lambda way: (-way.speed, order[way.backend], way.variant.name != first[way.backend]))
    return [*measured, *rest]


def acceptable(loaded: EngineChoice, best: EngineChoice) -> bool:
    """Whether to use what is loaded rather than load the best one as well."""
    return loaded.name == best.name or loaded.speed >= GOOD_ENOUGH * best.speed


def _by_rule(candidate: Candidate, variant: Variant, work: Work, order: list[str]) -> EngineChoice:
    """`order`: the backends that the rule names and that are there."""
    place = order.index(candidate.backend) if candidate.backend in order else len(order)
    first = f"{RULES[work][1]}" if order else "is what there is"
    said = first if place == 0 else f"comes after {', '.join(order[:place])}"
    return EngineChoice(
        backend=candidate.backend,
        variant=variant,
        features=candidate.support.features,
        why=f"by rule, not measured on this machine: {candidate.backend} {said}",
        speed=RULE_STEP**place,
    )


def _by_measurement(way: EngineChoice, seen: Measurement, best: float, work: Work) -> EngineChoice:
    share = seen.speed(work) / best if best else 0.0
    why = (
        f"measured here: {seen.prefill_tok_s:.0f} tok/s reading, {seen.decode_tok_s:.0f} writing one answer, "
        f"{seen.batch_tok_s:.0f} writing eight; {share:.0%} of the best for {work} work"
    )
    return EngineChoice(backend=way.backend, variant=way.variant, features=way.features, why=why, speed=share)
