"""Which engine serves a model: chosen from measurements of this machine, or by a stated rule while there are none.

Pure. engine/probe.py makes the measurements; the pool asks `rank` and takes the first candidate that has what a request needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from llmos.engine.base import Feature, Support, Variant

Work = Literal["prefill", "decode", "batch", "mixed", "once"]
"""What an engine is wanted for: reading (score, embed), one answer at a time, many at once, all of it; or one answer of a
process that then ends, where loading counts."""

WORKS: tuple[Work, ...] = ("prefill", "decode", "batch", "mixed", "once")
ONCE_TOKENS = 64  # of the answer that "once" is about
GOOD_ENOUGH = 0.9  # a loaded engine at this share of the best one's speed is used rather than loading the best one too
READS_PER_WRITE = 16  # engines read a prompt about so much faster than they write: beyond it, reading takes longer than writing


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
        """Tokens/s for a kind of work; for mixed the geometric mean of the three, in which each doubling counts the same; for
        once ONCE_TOKENS by the time of loading and writing them."""
        match work:
            case "prefill":
                return self.prefill_tok_s
            case "decode":
                return self.decode_tok_s
            case "batch":
                return self.batch_tok_s
            case "once":
                return ONCE_TOKENS / (self.load_s + ONCE_TOKENS / self.decode_tok_s) if self.decode_tok_s else 0.0
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
    """One way to serve, with the reason. speed: share of the best candidate's for this work, 1.0 for the best.
    prefixes_on_request: as of its Support."""

    backend: str
    variant: Variant
    features: frozenset[Feature]
    why: str
    speed: float = 1.0
    prefixes_on_request: bool = False

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
    "once": (("llamacpp", "openvino", "transformers", "remote"), "loads in a second as a rule"),
    "mixed": (("openvino", "llamacpp", "transformers", "remote"), "serves mixed work fastest as a rule"),
}
RULE_STEP = 0.5  # by rule each next candidate is taken to have half the speed: worth loading the better one


def rank(
    candidates: Sequence[Candidate], measurements: Sequence[Measurement], work: Work, *, wanted: str | None = None
) -> list[EngineChoice]:
    """All ways to serve, best first. `wanted` ("openvino" or "openvino/f32-group32") keeps only those.

    With a measurement of any candidate, those measured and in agreement come first, by speed (another variant of a backend than
    its first one only where it is clearly faster); candidates that were not
    measured follow by rule; those that disagreed or failed are left out, except when `wanted` names one.
    """
    present = [name for name in RULES[work][0] if any(candidate.backend == name for candidate in candidates)]
    ways = [_by_rule(candidate, variant, work, present) for candidate in candidates for variant in candidate.support.variants]
    if wanted:
        return [choice for choice in ways if wanted in (choice.backend, choice.name)]
    table = {f"{one.backend}/{one.variant}": one for one in measurements}
    best = max((one.speed(work) for one in table.values() if one.agrees), default=0.0)
    measured = [_by_measurement(way, table[way.name], best, work) for way in ways if way.name in table and table[way.name].agrees]
    rest = [way for way in ways if way.name not in table]
    order = {candidate.backend: place for place, candidate in enumerate(candidates)}
    first = {candidate.backend: candidate.support.variants[0].name for candidate in candidates}
    usual = {choice.backend: choice.speed for choice in measured if choice.variant.name == first[choice.backend]}

    def counted(choice: EngineChoice) -> float:
        """Its speed; that of the backend's first variant where it is faster by no more than two measurements may differ."""
        base = usual.get(choice.backend, 0.0)
        return base if base < choice.speed and choice.speed * GOOD_ENOUGH <= base else choice.speed

    measured.sort(key=lambda choice: (-counted(choice), choice.variant.name != first[choice.backend]))
    rest.sort(key=lambda way: (-way.speed, order[way.backend], way.variant.name != first[way.backend]))
    return [*measured, *rest]


def acceptable(loaded: EngineChoice, best: EngineChoice) -> bool:
    """Whether to use what is loaded rather than load the best one as well."""
    return loaded.name == best.name or loaded.speed >= GOOD_ENOUGH * best.speed


def kind_of(*, reads: int, writes: int, others: int) -> Work:
    """The work that a request is when its caller did not say. reads, writes: tokens of its prompt and of its longest answer,
    0 and 0 when nothing is known yet; others: requests of the same model that run or wait now."""
    if others > 0:
        return "batch"
    if reads + writes == 0:
        return "mixed"
    return "prefill" if reads >= READS_PER_WRITE * writes else "decode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A loaded engine as `pick` sees it: its name ("openvino/default") and how many requests hold it."""

    name: str
    users: int


def pick(loaded: Sequence[Loaded], ranking: Sequence[EngineChoice], *, demanding: bool) -> str | None:
    """Which loaded engine takes a request, by name; None: the first of the ranking is worth loading.

    ranking: the ways that can serve it, best first. An engine at work takes it, whatever its speed: requests that join its
    batch cost little, while two engines side by side would fight for the same cores. Among idle ones the fastest takes
    it; unless it is `demanding` (its caller said which work it is) and that one is not `acceptable`.
    """
    places = {choice.name: choice for choice in ranking}
    able = [one for one in loaded if one.name in places]
    able.sort(key=lambda one: (one.users > 0, places[one.name].speed), reverse=True)
    if not able:
        return None
    first = able[0]
    good = first.users > 0 or not demanding or acceptable(places[first.name], ranking[0])
    return first.name if good else None


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
        prefixes_on_request=candidate.support.prefixes_on_request,
    )


def _by_measurement(way: EngineChoice, seen: Measurement, best: float, work: Work) -> EngineChoice:
    share = seen.speed(work) / best if best else 0.0
    loading = f"{seen.load_s:.1f} s loading, " if work == "once" else ""
    why = (
        f"measured here: {loading}{seen.prefill_tok_s:.0f} tok/s reading, {seen.decode_tok_s:.0f} writing one answer, "
        f"{seen.batch_tok_s:.0f} writing eight; {share:.0%} of the best for {work} work"
    )
    return replace(way, why=why, speed=share)
