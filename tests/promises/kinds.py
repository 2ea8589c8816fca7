"""Job kinds of these tests: one that counts, saves checkpoints and can be checked afterwards to the last step."""

from __future__ import annotations

import time
from typing import Any

from pydantic import BaseModel, Field

from llmos.kernel.base import JobKind, kinds
from llmos.kernel.context import JobContext


class CountParams(BaseModel):
    """steps: how far to count. save_every: steps between two checkpoints."""

    steps: int = Field(ge=0, le=100_000)
    step_s: float = Field(0.01, ge=0, le=10)
    save_every: int = Field(5, ge=1)


class Count(JobKind):
    """Counts from its checkpoint on. Its result names the sum of what it counted, which only a job that left nothing out and did
    nothing twice has."""

    params = CountParams
    checkpoints = True

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        assert isinstance(params, CountParams)
        saved = context.checkpoint or {"done": 0, "sum": 0}
        done, total = int(saved["done"]), int(saved["sum"])
        while done < params.steps:
            context.step()
            time.sleep(params.step_s)
            done += 1
            total += done
            context.metric("count", done, done)
            context.progress(done, params.steps, "steps")
            if done % params.save_every == 0:
                context.save({"done": done, "sum": total})
        return {"steps": done, "sum": total, "attempt": context.attempt}


def expected_sum(steps: int) -> int:
    return steps * (steps + 1) // 2


if "promise-steps" not in kinds:
    kinds.register("promise-steps")(Count)
