"""/api/v1/jobs: what runs longer than a request. Submitted here it is on disk before the answer leaves.

A key sees the jobs of its project; a job of another project is a 404, as if it were not there. Kinds that read the server's disk are
not for requests, as with the models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec
from fastapi import Header, Path, Query, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from llmos.access.base import Caller, Scope
from llmos.errors import InvalidValue, did_you_mean
from llmos.kernel.base import EventType, Job, JobKind, JobSpec, JobState, Priority, Resources, Retry, kinds
from llmos.kernel.jobs import checked_params, kind_of
from llmos.server.answers import documented
from llmos.server.fields import Body
from llmos.server.job_answers import EventListAnswer, JobAnswer, JobListAnswer, JobRemovedAnswer, KindListAnswer
from llmos.server.job_events import PAGE, Follower, answer
from llmos.server.problems import Refused
from llmos.server.scopes import ScopedRouter, needs
from llmos.server.work import EventStream, blocking, caller_of, state_of, trace_labels, watched

router = ScopedRouter(Scope.JOBS, prefix="/api/v1", tags=["Jobs"])

MAX_KEY = 255
_URGENCY = list(Priority)  # most urgent first

_ID = r"^[A-Za-z0-9_-]{1,40}$"
Id = Annotated[str, Path(pattern=_ID)]


class ResourcesBody(Body):
    """What the job may take of its machine; memory_bytes is a limit on its process."""

    cores: int = Field(0, ge=0, le=4096)
    memory_bytes: int = Field(0, ge=0)
    disk_bytes: int = Field(0, ge=0)
    accelerators: int = Field(0, ge=0, le=1024)


class RetryBody(Body):
    """attempts: in all, when one fails for a reason that may pass. The waits between them double."""

    attempts: int = Field(3, ge=1, le=100)
    backoff_s: float = Field(1.0, ge=0, le=86_400)
    max_backoff_s: float = Field(300.0, ge=0, le=86_400)


class JobBody(Body):
    """A job to run. params: as its kind wants them (GET /api/v1/job-kinds). depends_on: jobs that must have succeeded before.
    deadline_s: it fails when it is not over so many seconds from now. idempotency_key: may be the header instead; the same key
    again gives the job that is there."""

    kind: str = Field(min_length=1, max_length=64)
    params: dict[str, Any] = Field(default_factory=dict)
    priority: Priority | None = None
    resources: ResourcesBody | None = None
    depends_on: list[Annotated[str, Field(pattern=_ID)]] = Field(default_factory=list, max_length=64)
    idempotency_key: str | None = Field(None, min_length=1, max_length=MAX_KEY)
    deadline_s: float | None = Field(None, gt=0, le=31_536_000, allow_inf_nan=False)
    retry: RetryBody | None = None
    labels: dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=256)]] = Field(
        default_factory=dict, max_length=32
    )


def shown(job: Job) -> dict[str, Any]:
    """The job on the wire. The beat of its lease is nobody's business."""
    found: dict[str, Any] = msgspec.to_builtins(job)
    del found["beat"]
    return found


def project_of(caller: Caller) -> str | None:
    """Whose jobs the caller sees; None for those of all projects."""
    return None if caller.everywhere else caller.project


def _key(header: str | None, body: str | None) -> str | None:
    if header is not None and not 1 <= len(header) <= MAX_KEY:
        raise InvalidValue(
            f"The header Idempotency-Key has {len(header)} characters; 1 to {MAX_KEY} are accepted.", param="Idempotency-Key"
        )
    if header is not None and body is not None and header != body:
        message = "The header Idempotency-Key and the field idempotency_key differ."
        raise InvalidValue(message, param="idempotency_key", hint="Give one of them, or the same twice.")
    return header if body is None else body


def _priority(asked: Priority | None, caller: Caller) -> Priority:
    """Normal, or what the key's own class allows when that is less. A more urgent one than the key's is refused."""
    most = Priority(caller.priority)
    if asked is None:
        return max(most, Priority.NORMAL, key=_URGENCY.index)
    if _URGENCY.index(asked) < _URGENCY.index(most):
        raise InvalidValue(f"This key may submit jobs of the priority {most} at most; {asked} was asked for.", param="priority")
    return asked


def _check_kind(name: str, params: dict[str, Any], caller: Caller) -> None:
    """Whether this caller may ask for such a job over the network."""
    kind = kind_of(name)
    if not caller.may(Scope(kind.scope)):
        raise Refused(403, "scope_missing", f"Jobs of the kind {name!r} need a key with the scope {kind.scope!r}.", param="kind")
    kind.check_remote(checked_params(kind.params, params))


@router.post(
    "/jobs", response_model=None, responses=documented(JobAnswer), openapi_extra=needs(makes="job"), summary="Submit a job"
)
async def submit(body: JobBody, request: Request, idempotency_key: Annotated[str | None, Header()] = None) -> Response:
    caller = caller_of(request)
    key = _key(idempotency_key, body.idempotency_key)
    _check_kind(body.kind, body.params, caller)
    spec = JobSpec(
        kind=body.kind,
        params=body.params,
        project=caller.project,
        submitted_by=caller.key_id,
        priority=_priority(body.priority, caller),
        resources=Resources(**body.resources.model_dump()) if body.resources else None,
        depends_on=tuple(body.depends_on),
        idempotency_key=key,
        deadline_s=body.deadline_s,
        retry=Retry(**body.retry.model_dump()) if body.retry else Retry(),
        labels={**trace_labels(request), **body.labels},
    )
    return JSONResponse(shown(await blocking(lambda: state_of(request).jobs.submit(spec))))


def _labels(given: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        name, colon, value = one.partition(":")
        if not name or not colon:
            raise InvalidValue(f"The label {one!r} is not of the form name:value.", param="label")
        found[name] = value
    return found


@router.get("/jobs", response_model=None, responses=documented(JobListAnswer), summary="Jobs of the own project, newest first")
async def list_jobs(
    *,
    request: Request,
    state: Annotated[list[JobState] | None, Query(description="Only jobs in this state; may be repeated.")] = None,
    kind: Annotated[str | None, Query(pattern=r"^[!-~]{1,64}$")] = None,
    label: Annotated[list[str] | None, Query(max_length=32, description="name:value; may be repeated, all must fit.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[str | None, Query(pattern=_ID, description="Only older ones: `before` of the page before.")] = None,
) -> Response:
    jobs, project = state_of(request).jobs, project_of(caller_of(request))
    wanted = _labels(label or [])
    found = await blocking(
        lambda: jobs.list(project=project, states=tuple(state or ()), kind=kind, labels=wanted, limit=limit + 1, before=before)
    )
    page = found[:limit]
    return JSONResponse({"jobs": [shown(job) for job in page], "before": page[-1].id if len(found) > limit else None})


@router.get("/job-kinds", response_model=None, responses=documented(KindListAnswer), summary="Kinds of jobs and their parameters")
async def list_kinds(request: Request) -> Response:
    def told(name: str, kind: JobKind) -> dict[str, Any]:
        about = (type(kind).__doc__ or "").strip().split("\n")[0]
        schema = kind.params.model_json_schema()
        return {"kind": name, "about": about, "params": schema, "checkpoints": kind.checkpoints, "scope": kind.scope}

    return JSONResponse({"kinds": [told(name, kind) for name, kind in kinds]})


@router.get("/jobs/{id}", response_model=None, responses=documented(JobAnswer), summary="One job")
async def show(id: Id, request: Request) -> Response:
    return JSONResponse(shown(await blocking(lambda: state_of(request).jobs.get(id, project=project_of(caller_of(request))))))


@router.delete("/jobs/{id}", response_model=None, responses=documented(JobRemovedAnswer), summary="Forget a job that is over")
async def remove(id: Id, request: Request) -> Response:
    await blocking(lambda: state_of(request).jobs.remove(id, project=project_of(caller_of(request))))
    return JSONResponse({"removed": id})


@router.post("/jobs/{id}/cancel", response_model=None, responses=documented(JobAnswer), summary="End a job")
async def cancel(id: Id, request: Request) -> Response:
    return await _steer(id, request, "cancel")


@router.post("/jobs/{id}/pause", response_model=None, responses=documented(JobAnswer), summary="Stop a job until it is resumed")
async def pause(id: Id, request: Request) -> Response:
    return await _steer(id, request, "pause")


@router.post("/jobs/{id}/resume", response_model=None, responses=documented(JobAnswer), summary="Let a paused job go on")
async def resume(id: Id, request: Request) -> Response:
    return await _steer(id, request, "resume")


async def _steer(id: str, request: Request, how: Literal["cancel", "pause", "resume"]) -> Response:
    jobs, caller = state_of(request).jobs, caller_of(request)

    act = {"cancel": jobs.cancel, "pause": jobs.pause, "resume": jobs.resume}[how]
    return JSONResponse(shown(await blocking(lambda: act(id, project=project_of(caller), actor=caller.key_id))))


_STREAM = {
    "text/event-stream": {"schema": {"type": "string", "description": "Events as they come, each with an EventAnswer as its data."}}
}
_EVENTS: dict[int | str, dict[str, Any]] = {200: {"model": EventListAnswer, "description": "The answer", "content": _STREAM}}


@router.get("/jobs/{id}/events", response_model=None, responses=_EVENTS, summary="What happened to a job, and what happens")
async def events(
    *,
    id: Id,
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Only events with a greater number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
    types: Annotated[str | None, Query(max_length=100, description="Only events of these types, separated by commas.")] = None,
    wait_s: Annotated[float | None, Query(gt=0, le=3600, description="Longest wait for what is not there yet.")] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """JSON: a page of what is there. With `Accept: text/event-stream`: events as they come, until the job is over, or for
    `wait_s`; the stream begins after `Last-Event-ID`, when that is sent."""
    follower = Follower(
        state_of(request),
        id,
        project=project_of(caller_of(request)),
        after=after if last_event_id is None else _number(last_event_id),
        types=_types(types),
    )
    page = await follower.page(limit)
    if "text/event-stream" in request.headers.get("accept", ""):
        return EventStream(follower.stream(page, wait_s), lambda: None, {})
    if not page and wait_s is not None and not follower.over:
        await watched(request.receive, lambda: None, follower.news(wait_s))
        page = await follower.page(limit)
    return JSONResponse(answer(follower, page))


def _number(last_event_id: str) -> int:
    if not last_event_id.isdecimal() or len(last_event_id) > 10:
        raise InvalidValue(f"Last-Event-ID is {last_event_id[:40]!r}, not the number of an event.", param="Last-Event-ID")
    return int(last_event_id)


def _types(given: str | None) -> frozenset[str]:
    names = frozenset(name.strip() for name in (given or "").split(",") if name.strip())
    for name in sorted(names - set(get_args(EventType))):
        raise InvalidValue(
            f"There are no events of the type {name!r}.", param="types", hint=did_you_mean(name, list(get_args(EventType)))
        )
    return names
