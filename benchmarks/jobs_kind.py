"""The job of bench_jobs.py, in a module that imports nothing heavy: what is measured is the kernel, not the imports of a kind."""

from __future__ import annotations

import time
from typing import Any

from pydantic import BaseModel

from llmos.kernel.base import JobKind, kinds
from llmos.kernel.context import JobContext


class NoParams(BaseModel):
    """Nothing to say."""


class Stamp(JobKind):
    """Says when its code began."""

    params = NoParams

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        return {"began": time.monotonic()}


if "bench-stamp" not in kinds:
    kinds.register("bench-stamp")(Stamp)
