"""What the job and status routes answer, for the OpenAPI document, as answers.py does for the others.

The routes write the records of kernel/base.py and sdk/status.py; tests/server/test_jobs.py holds real answers against these models.
"""

from __future__ import annotations

from typing import Any, Literal

from llmos.server.answers import Answer

State = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
EventName = Literal["state", "progress", "metric", "log", "artefact", "checkpoint", "yield"]


class ResourcesAnswer(Answer):
    cores: int
    memory_bytes: int
    disk_bytes: int
    accelerators: int


class RetryAnswer(Answer):
    attempts: int
    backoff_s: float
    max_backoff_s: float


class ProgressAnswer(Answer):
    """total: null when it is not known. eta_s: from the pace so far."""

    done: float
    total: float | None
    unit: str
    message: str
    eta_s: float | None


class JobErrorAnswer(Answer):
    code: str
    message: str
    param: str | None
    hint: str


class JobAnswer(Answer):
    """wish: what was asked of a running job and is not done yet. attempt: how often it was started. failures and lost: attempts
    that failed, and that ended without a word. waits_for: unfinished jobs that it depends on. Times are UTC."""

    id: str
    kind: str
    params: dict[str, Any]
    project: str
    submitted_by: str
    priority: Literal["interactive", "normal", "batch"]
    resources: ResourcesAnswer
    depends_on: list[str]
    waits_for: list[str]
    idempotency_key: str | None
    retry: RetryAnswer
    labels: dict[str, str]
    state: State
    wish: Literal["", "cancel", "pause"]
    attempt: int
    failures: int
    lost: int
    runner: str
    progress: ProgressAnswer
    checkpoint: dict[str, Any] | None
    result: dict[str, Any] | None
    error: JobErrorAnswer | None
    created_at: str
    not_before: str | None
    deadline_at: str | None
    started_at: str | None
    finished_at: str | None


class JobListAnswer(Answer):
    """Newest first. before: for the next page, null when this was the last."""

    jobs: list[JobAnswer]
    before: str | None


class JobRemovedAnswer(Answer):
    removed: str


class EventAnswer(Answer):
    """seq counts from 1 without gaps. data by type: docs/jobs.md."""

    job_id: str
    seq: int
    attempt: int
    at: str
    type: EventName
    data: dict[str, Any]


class EventListAnswer(Answer):
    """after: for the next page. state: of the job when this was read; when it is final and the page is empty, nothing follows."""

    events: list[EventAnswer]
    after: int
    state: State


class KindAnswer(Answer):
    """params: JSON schema. scope: what a key needs to submit such a job."""

    kind: str
    about: str
    params: dict[str, Any]
    checkpoints: bool
    scope: str


class KindListAnswer(Answer):
    kinds: list[KindAnswer]


class MachineAnswer(Answer):
    """load: processes that want a core, over the last minute."""

    host: str
    cores: int
    load: float
    memory_bytes: int
    available_bytes: int
    budget_bytes: int | None


class LoadedAnswer(Answer):
    name: str
    engine: str
    memory_bytes: int
    running: int
    tokens_per_s: float
    idle_s: float


class QueueAnswer(Answer):
    """tokens_per_s: over the last ten seconds. ttft_p50_s: median time to the first token of the last minute's streams."""

    running: int
    waiting: int
    waiting_tokens: int
    tokens_per_s: float
    ttft_p50_s: float | None


class RunnerAnswer(Answer):
    id: str
    host: str
    pid: int
    alive: bool


class StatusAnswer(Answer):
    """counts: the asker's jobs by state. jobs: unfinished ones, running first, at most 20."""

    at: str
    version: str
    uptime_s: float | None
    machine: MachineAnswer
    models: list[LoadedAnswer]
    queue: QueueAnswer | None
    runners: list[RunnerAnswer]
    counts: dict[str, int]
    jobs: list[JobAnswer]
