"""How hard the tests of docs/promises.md try: "quick" in every run of the tests, "full" for a release (`make promises`).

NUM_KILLS = quick_or_full(50, 1000)
rng = seeded("P1")                                     the seed is printed; LLMOS_PROMISES_SEED=… runs it again
record_property("figure", "50 kills, 0 jobs lost")     pytest's own fixture; the report shows it beside the promise
"""

from __future__ import annotations

import os
import random
from typing import Literal, TypeVar

T = TypeVar("T")
Level = Literal["quick", "full"]


def level() -> Level:
    """From LLMOS_PROMISES; quick when it is not set."""
    given = os.environ.get("LLMOS_PROMISES", "quick")
    if given == "quick":
        return "quick"
    if given == "full":
        return "full"
    raise ValueError(f"LLMOS_PROMISES is {given!r}; it is quick or full")


def quick_or_full(quick: T, full: T) -> T:
    return full if level() == "full" else quick


def seeded(what: str) -> random.Random:
    """A generator whose seed is on the test's output. LLMOS_PROMISES_SEED repeats a run."""
    given = os.environ.get("LLMOS_PROMISES_SEED")
    seed = int(given) if given else random.SystemRandom().randrange(10**9)
    print(f"{what}: seed {seed} (again with LLMOS_PROMISES_SEED={seed})")
    return random.Random(seed)
