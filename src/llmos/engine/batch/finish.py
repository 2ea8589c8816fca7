"""The end of a run: the log in the order of the input, parted into answers and errors, in constant memory.

The output is put in place whole: written beside its name, flushed, renamed. What has no result, because the run was cancelled or its
time was over, is an error line that says so: every item of the input is in exactly one of the two files, once.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmos.engine.batch.base import BatchFolder
from llmos.engine.batch.plan import Plan
from llmos.infra.files import fsync_dir, fsync_file, make_dir, storage_errors

Ending = Literal["completed", "cancelled", "expired"]
_WHY = {
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was executed."),
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "completed": ("batch_incomplete", "This request has no result."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How many lines each file has. unanswered: of the errors, those that were never asked."""

    answers: int
    errors: int
    unanswered: int


def write(plan: Plan, folder: BatchFolder, output: Path, errors: Path, ending: Ending = "completed") -> Written:
    """Writes both files, also when one has no lines. The log must have been read into the plan (Plan.note_done)."""
    code, message = _WHY[ending]
    answers = failed = unanswered = 0
    with ExitStack() as files, storage_errors(output):
        log = os.open(folder.log, os.O_RDONLY)
        files.callback(os.close, log)
        parts = [_beside(path) for path in (output, errors)]
        writers = [files.enter_context(part.open("wb", buffering=1 << 20)) for part in parts]
        for number, custom_id, ok, offset, length in plan.results():
            if ok is None:
                unanswered += 1
                line = json.dumps(unasked(number, custom_id, code, message), ensure_ascii=False).encode()
            else:
                line = os.pread(log, length, offset)
            answers, failed = answers + bool(ok), failed + (not ok)
            writers[0 if ok else 1].write(line + b"\n")
    for part, path in zip(parts, (output, errors), strict=True):
        with storage_errors(path):
            fsync_file(part)
            part.replace(path)
            fsync_dir(path.parent)
    return Written(answers=answers, errors=failed, unanswered=unanswered)


def unasked(number: int, custom_id: str, code: str, message: str) -> dict[str, object]:
    """The error line of an item that was never asked."""
    error = {"code": code, "message": message}
    return {"id": f"batch_req_{number}", "custom_id": custom_id, "response": None, "error": error}


def _beside(path: Path) -> Path:
    make_dir(path.parent)
    return path.with_name(f".{path.name}.partial")
