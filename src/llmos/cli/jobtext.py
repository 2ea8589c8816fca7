"""How a job reads in a terminal of 80 columns: short ids, progress, ages, and lines of its history. Pure functions over records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from llmos.cli.output import human_bytes, printable
from llmos.kernel.base import Job, JobEvent, JobProgress, JobState

PREFIX = "job_"
SHORT = 18  # of an id: the part that counts microseconds
LEVELS = ("debug", "info", "warning", "error")
_WISHES = {"cancel": "is being cancelled", "pause": "is being paused"}
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def human_seconds(seconds: float) -> str:
    """'8 s', '3 min', '2 h', '5 d'."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.0f} h" if seconds < 2 * _DAY else f"{seconds / _DAY:.0f} d"


def age(job: Job, now: datetime | None = None) -> str:
    """Since it was submitted."""
    return human_seconds(max(0.0, ((now or datetime.now(UTC)) - datetime.fromisoformat(job.created_at)).total_seconds()))


def short_ids(ids: Sequence[str]) -> dict[str, str]:
    """The shortest beginnings of SHORT characters or more that tell the ids apart."""
    for length in range(SHORT, max(map(len, ids), default=SHORT)):
        if len({one[:length] for one in ids}) == len(ids):
            return {one: one[:length] for one in ids}
    return {one: one for one in ids}


def amount(done: float, unit: str) -> str:
    return human_bytes(done) if unit == "bytes" else f"{done:g} {unit}".strip()


def percent(progress: JobProgress) -> float | None:
    if progress.total is None or progress.total <= 0:
        return None
    return min(100.0, 100 * progress.done / progress.total)


def progress_text(progress: JobProgress) -> str:
    """'42 %, 3 min left', '412 items', or ''."""
    part = percent(progress)
    if part is None:
        return amount(progress.done, progress.unit) if progress.done else ""
    left = f", {human_seconds(progress.eta_s)} left" if progress.eta_s and part < 100 else ""
    return f"{part:.0f} %{left}"


def standing(job: Job) -> str:
    """What there is to say of a job besides its state."""
    if job.state is JobState.RUNNING:
        return _WISHES.get(job.wish) or progress_text(job.progress) or printable(job.progress.message)
    if job.error is not None:
        return job.error.code
    if job.waits_for:
        return f"after {len(job.waits_for)} other job{'s' if len(job.waits_for) > 1 else ''}"
    if job.state is JobState.QUEUED and job.failures:
        return f"attempt {job.attempt} failed, tried again"
    if job.state in (JobState.QUEUED, JobState.PAUSED):
        return progress_text(replace(job.progress, eta_s=None))  # it stands still
    return ""


def line(event: JobEvent, level: str = "info") -> str | None:
    """One line of the history; None for what is below the level, and for progress (shown by who follows)."""
    said = _said(event, LEVELS.index(level))
    return None if said is None else f"{local_time(event.at)}  {said}"


def local_time(at: str) -> str:
    return datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S")


def _said(event: JobEvent, level: int) -> str | None:
    data = event.data
    if event.type == "log":
        rank = LEVELS.index(data["level"]) if data["level"] in LEVELS else LEVELS.index("info")
        mark = "" if data["level"] == "info" else f"{data['level']}: "
        return mark + printable(str(data["text"])) if rank >= level else None
    if event.type == "state":
        why = f": {printable(str(data['why']))}" if data.get("why") else ""
        return f"[{data['state']}]{why}"
    if event.type == "artefact":
        rest = ", ".join(f"{name}={value}" for name, value in data.items() if name != "name")
        return printable(f"[made] {data['name']}" + (f" ({rest})" if rest else ""))
    if event.type == "metric":
        step = "" if data.get("step") is None else f" at step {data['step']}"
        value = "not a number" if data["value"] is None else f"{data['value']:.6g}"
        return printable(f"[metric] {data['name']} = {value}{step}")
    if event.type == "yield":
        return printable(f"[waited] {data['waited_s']:.1f} s: {data['why']}") if level <= 1 else None
    return "[checkpoint]" if event.type == "checkpoint" and level == 0 else None


def progress_line(event: JobEvent) -> str:
    """'12:03:45  42 %, 3 min left (downloading model.gguf)'."""
    progress = JobProgress(**event.data)
    message = f" ({printable(progress.message)})" if progress.message else ""
    return f"{local_time(event.at)}  {progress_text(progress) or 'working'}{message}"
