"""/v1/batches: files of requests answered as jobs, as the OpenAI clients use them. A batch is a job of the kind "batch" (batch/kind.py):
it is also under /api/v1/jobs and in `llmos jobs`, where it can be paused.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Request
from pydantic import Field, StringConstraints
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.errors import InvalidValue, NotFound
from llmos.infra.uploads import Uploads
from llmos.kernel.base import Job, JobSpec, JobState, Priority
from llmos.kernel.jobs import Jobs
from llmos.server.answers import documented
from llmos.server.batch.answers import check_endpoint
from llmos.server.batch.kind import file_of, finish_abandoned
from llmos.server.batch.view import batch_id, job_id, shown
from llmos.server.fields import Body
from llmos.server.file_answers import BatchAnswer, BatchListAnswer
from llmos.server.routes.files import project_of
from llmos.server.scopes import ScopedRouter, needs
from llmos.server.work import blocking, caller_of, state_of, trace_labels

router = ScopedRouter(Scope.JOBS, tags=["OpenAI"])

WINDOW_S = 24 * 3600
Id = Annotated[str, Path(max_length=64)]


class ExpiresAfter(Body):
    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2_592_000)


class BatchBody(Body):
    """output_expires_after: for the files that the batch makes."""

    input_file_id: str = Field(min_length=1, max_length=64)
    endpoint: str = Field(min_length=1, max_length=64)
    completion_window: Literal["24h"]
    metadata: dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]] | None = (
        Field(None, max_length=16)
    )
    output_expires_after: ExpiresAfter | None = None


@router.post(
    "/v1/batches",
    response_model=None,
    responses=documented(BatchAnswer),
    summary="Answer a file of requests",
    openapi_extra=needs(makes="job"),
)
async def create(body: BatchBody, request: Request) -> Response:
    state, caller = state_of(request), caller_of(request)
    check_endpoint(body.endpoint)
    after = body.output_expires_after
    params = {
        "input_file_id": body.input_file_id,
        "endpoint": body.endpoint,
        "completion_window": body.completion_window,
        "expires_at": time.time() + WINDOW_S,
        "output_expires_after_s": after.seconds if after else None,
        "metadata": body.metadata,
    }

    def submit() -> Job:
        _check_input(state.uploads, body.input_file_id, project_of(caller))
        spec = JobSpec(
            kind="batch",
            params=params,
            project=caller.project,
            submitted_by=caller.key_id,
            priority=Priority.BATCH,
            labels=trace_labels(request),
        )
        return state.jobs.submit(spec)

    return JSONResponse(shown(await blocking(submit)))


def _check_input(uploads: Uploads, file_id: str, project: str | None) -> None:
    try:
        stored = uploads.get(file_id, project)
    except NotFound as error:
        raise NotFound(error.message, param="input_file_id") from None
    if stored.purpose != "batch":
        raise InvalidValue(
            f"The file {file_id!r} was uploaded for {stored.purpose!r}.",
            param="input_file_id",
            hint="Upload it with the purpose batch.",
        )


@router.get("/v1/batches", response_model=None, responses=documented(BatchListAnswer), summary="Batches of the own project")
async def list_batches(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(max_length=64, description="The last id of the page before.")] = None,
) -> Response:
    uploads, jobs, project = state_of(request).uploads, state_of(request).jobs, project_of(caller_of(request))

    def find() -> list[Job]:
        before = _found(jobs, after, project).id if after else None
        return jobs.list(project=project, kind="batch", limit=limit + 1, before=before)

    found = await blocking(find)
    page = [await blocking(partial(seen, uploads, job)) for job in found[:limit]]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return JSONResponse({"object": "list", "data": page, **ends, "has_more": len(found) > limit})


@router.get("/v1/batches/{batch}", response_model=None, responses=documented(BatchAnswer), summary="One batch")
async def retrieve(batch: Id, request: Request) -> Response:
    state, project = state_of(request), project_of(caller_of(request))
    return JSONResponse(await blocking(lambda: seen(state.uploads, _found(state.jobs, batch, project))))


@router.post("/v1/batches/{batch}/cancel", response_model=None, responses=documented(BatchAnswer), summary="End a batch")
async def cancel(batch: Id, request: Request) -> Response:
    """What is finished by then is in the files of the batch, once it is cancelled."""
    state, caller = state_of(request), caller_of(request)

    def act() -> dict[str, Any]:
        job = _found(state.jobs, batch, project_of(caller))
        job = state.jobs.cancel(job.id, actor=caller.key_id, project=job.project)
        if job.state is JobState.CANCELLED:
            finish_abandoned(state.settings.home, state.uploads, job)
        return seen(state.uploads, job)

    return JSONResponse(await blocking(act))


def seen(uploads: Uploads, job: Job) -> dict[str, Any]:
    """The batch, with the files of one that was cancelled while nobody worked on it."""
    made: dict[str, str] = {}
    if job.state is JobState.CANCELLED and job.attempt:
        for what in ("output", "error"):
            with suppress(NotFound):
                made[f"{what}_file_id"] = uploads.get(file_of(job.id, what), job.project).id
    return shown(job, made)


def _found(jobs: Jobs, batch: str, project: str | None) -> Job:
    """Raises NotFound, also for a job of another kind."""
    try:
        job = jobs.get(job_id(batch), project=project)
    except NotFound:
        job = None
    if job is None or job.kind != "batch":
        raise NotFound(f"There is no batch {batch[:64]!r}.", param="batch_id")
    assert batch_id(job.id) == batch
    return job
