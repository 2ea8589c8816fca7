"""A job of the kind "batch" as the OpenAI API shows a batch. Pure: from the row alone.

job       queued (new)   running, queued again, paused          succeeded            failed    cancelled
status    validating     validating, in_progress, finalizing    completed, expired   failed    cancelled
                         cancelling, once it was asked for
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from llmos.kernel.base import Job, JobState

PREFIX = "batch_"


def batch_id(job_id: str) -> str:
    return PREFIX + job_id.removeprefix("job_")


def job_id(batch: str) -> str:
    """The job of a batch; of anything else a name that no job has."""
    return "job_" + batch.removeprefix(PREFIX) if batch.startswith(PREFIX) else "job_"


def status_of(job: Job) -> str:
    state = job.checkpoint or {}
    match job.state:
        case JobState.SUCCEEDED:
            return str((job.result or {}).get("status", "completed"))
        case JobState.FAILED:
            return "failed"
        case JobState.CANCELLED:
            return "cancelled"
    if job.wish == "cancel":
        return "cancelling"
    phase = str(state.get("phase", "validating"))
    return phase if phase in ("in_progress", "finalizing") else "finalizing" if phase != "validating" else phase


def shown(job: Job, made: Mapping[str, str] | None = None) -> dict[str, Any]:
    """made: ids of its files, where its last process did not live to write them down."""
    state, status = {**(made or {}), **(job.checkpoint or {})}, status_of(job)
    times = state.get("times", {})
    ended = _seconds(job.finished_at)
    counts = state.get("counts", {"total": 0, "completed": 0, "failed": 0})
    over = status in ("completed", "expired", "cancelled", "failed")
    metadata = job.params.get("metadata")
    return {
        "id": batch_id(job.id),
        "object": "batch",
        "endpoint": job.params["endpoint"],
        "model": state.get("model"),
        "errors": _errors(job),
        "input_file_id": job.params["input_file_id"],
        "completion_window": job.params["completion_window"],
        "status": status,
        "output_file_id": state.get("output_file_id") if over else None,
        "error_file_id": state.get("error_file_id") if over else None,
        "created_at": _seconds(job.created_at),
        "in_progress_at": times.get("in_progress"),
        "expires_at": int(job.params["expires_at"]),
        "finalizing_at": times.get("finalizing"),
        "completed_at": ended if status == "completed" else None,
        "failed_at": ended if status == "failed" else None,
        "expired_at": ended if status == "expired" else None,
        "cancelling_at": times.get("finalizing", ended)
        if status == "cancelled"
        else _seconds(job.started_at)
        if status == "cancelling"
        else None,
        "cancelled_at": ended if status == "cancelled" else None,
        "request_counts": {**counts, "failed": counts["failed"] + int(state.get("unanswered", 0))},
        "usage": _usage(state.get("tokens", {})),
        "metadata": metadata,
    }


def _errors(job: Job) -> dict[str, Any] | None:
    found = (job.checkpoint or {}).get("errors")
    if not found and job.state is JobState.FAILED and job.error is not None:
        text = f"{job.error.message} {job.error.hint}".strip()
        found = [{"code": job.error.code, "message": text, "param": job.error.param, "line": None}]
    return {"object": "list", "data": found} if found else None


def _usage(tokens: dict[str, int]) -> dict[str, Any]:
    read, written = tokens.get("read", 0), tokens.get("written", 0)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": tokens.get("cached", 0)},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }


def _seconds(at: str | None) -> int | None:
    return int(datetime.fromisoformat(at).timestamp()) if at else None
