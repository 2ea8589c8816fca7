"""/api/v1/status: what this server and its machine do now, in one answer; `llmos top` draws it."""

from __future__ import annotations

import time
from collections import Counter

import msgspec
from fastapi import Request
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.sdk.status import ModelStatus, QueueStatus, Status, gather
from llmos.server.answers import documented
from llmos.server.job_answers import StatusAnswer
from llmos.server.routes.jobs import project_of, shown
from llmos.server.scopes import ScopedRouter
from llmos.server.state import State
from llmos.server.work import blocking, caller_of, state_of

router = ScopedRouter(Scope.METRICS, prefix="/api/v1", tags=["Jobs"])


def status_of(state: State, project: str | None) -> Status:
    """Models and queue of this server, jobs of that project (None: of all)."""
    rates, first_s, loaded = state.recent.rates(), state.recent.ttft_p50_s(), state.pool.loaded()
    engines = Counter(info.name for info in loaded)  # a rate is known by model: several engines of one share it
    return gather(
        state.jobs,
        project=project,
        models=tuple(ModelStatus.of(info, rates.get(info.name, 0.0) / engines[info.name]) for info in loaded),
        queue=QueueStatus(
            running=state.admission.running,
            waiting=state.admission.waiting,
            waiting_tokens=state.admission.waiting_tokens,
            tokens_per_s=round(sum(rates.values()), 1),
            ttft_p50_s=None if first_s is None else round(first_s, 4),
        ),
        budget_bytes=state.pool.budget_bytes,
        uptime_s=round(time.time() - state.started_at, 1),
    )


@router.get("/status", response_model=None, responses=documented(StatusAnswer), summary="Machine, models, queue and jobs, now")
async def status(request: Request) -> Response:
    state, project = state_of(request), project_of(caller_of(request))
    found = await blocking(lambda: status_of(state, project))
    return JSONResponse({**msgspec.to_builtins(found), "jobs": [shown(job) for job in found.jobs]})
