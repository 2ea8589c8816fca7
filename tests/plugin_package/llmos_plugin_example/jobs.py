"""The plugin's kind of job, `count`: counts to a number, one file, with all that a job can do.

    llmos jobs submit count to=100 pause_s=0.1 --wait

It reports progress, a figure, a log line and what it made; it saves a checkpoint, so that it goes on where it was after a pause, a
kill or a restart of the service; and it fails when it is told to.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from llmos.errors import InvalidValue
from llmos.kernel.base import JobKind, Resources, kinds
from llmos.kernel.context import JobContext


class CountParams(BaseModel):
    """to: the last number. pause_s: after each number. fail_at: the number at which it fails."""

    model_config = ConfigDict(extra="forbid")

    to: int = Field(ge=1, le=1_000_000)
    pause_s: float = Field(0.0, ge=0, le=60)
    fail_at: int | None = None


@kinds.register("count")
class CountJob(JobKind):
    """Counts to a number."""

    params: ClassVar[type[BaseModel]] = CountParams
    checkpoints = True

    def resources(self, params: CountParams) -> Resources:
        return Resources(cores=0, memory_bytes=0)

    def run(self, params: CountParams, context: JobContext) -> dict[str, Any]:
        start = int((context.checkpoint or {"counted": 0})["counted"])
        context.log(f"counting from {start + 1} to {params.to}")
        for number in range(start + 1, params.to + 1):
            context.step()
            if number == params.fail_at:
                raise InvalidValue(f"It was told to fail at {number}.", param="params.fail_at", hint="Leave fail_at out.")
            time.sleep(params.pause_s)
            context.progress(number, params.to, "numbers", message=f"at {number}")
            if number % 10 == 0:
                context.save({"counted": number})
        path = context.folder / "numbers.txt"
        path.write_text("\n".join(str(number) for number in range(1, params.to + 1)))
        context.metric("sum", params.to * (params.to + 1) / 2)
        context.artefact("numbers", path=str(path))
        return {"counted": params.to, "began_at": start + 1, "attempt": context.attempt}
