"""/api/v1/usage and /api/v1/audit: what was used, by whom, and what was changed."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Query, Request
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.errors import NotFound
from llmos.server.access_answers import AuditAnswer, UsageAnswer, VerdictAnswer
from llmos.server.answers import documented
from llmos.server.scopes import ScopedRouter, needs
from llmos.server.work import blocking, caller_of, state_of

router = ScopedRouter(Scope.ADMIN, prefix="/api/v1", tags=["Audit"])
Day = Annotated[str | None, Query(pattern=r"^\d{4}-\d\d-\d\d$", description="As 2026-11-22.")]


@router.get(
    "/usage",
    response_model=None,
    responses=documented(UsageAnswer),
    openapi_extra=needs(Scope.INFERENCE),
    summary="Requests and tokens by day, key and model",
)
async def usage(
    request: Request,
    key: Annotated[str | None, Query(max_length=128, description="Id or name of one key.")] = None,
    project: Annotated[str | None, Query(max_length=64)] = None,
    first_day: Day = None,
    last_day: Day = None,
) -> Response:
    """A key without the scope admin sees its own, and what it replaced; of another key it learns nothing, not even that it is
    there."""
    access, caller = state_of(request).access, caller_of(request)
    mine = access.ring.members(caller.account)

    def find() -> list[dict[str, object]]:
        wanted: tuple[str, ...] | None = None if caller.everywhere else mine
        if key is not None and caller.everywhere:
            wanted = access.account(key)
        elif key is not None:
            wanted = (key,)
            if key not in mine:
                raise NotFound(f"There is no key {key!r}.", param="key")
        found = access.usage.report(key_ids=wanted, project=project, first_day=first_day, last_day=last_day)
        return [msgspec.to_builtins(row) for row in found]

    return JSONResponse({"usage": await blocking(find)})


@router.get("/audit", response_model=None, responses=documented(AuditAnswer), summary="The audit log, the newest rows first")
async def list_rows(
    request: Request,
    *,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Only rows with a smaller number.")] = None,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Only rows with a greater number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    actor: Annotated[str, Query(max_length=64)] = "",
    action: Annotated[str, Query(max_length=64, description='The beginning of the action: "key." for all of keys.')] = "",
    project: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    audit = state_of(request).access.audit
    found = await blocking(
        lambda: audit.list(before=before, after=after, limit=limit + 1, actor=actor, action=action, project=project)
    )
    page = found[:limit]
    return JSONResponse({"rows": msgspec.to_builtins(page), "before": page[-1].seq if len(found) > limit else None})


@router.get(
    "/audit/verify", response_model=None, responses=documented(VerdictAnswer), summary="Whether the log is as it was written"
)
async def verify(request: Request) -> Response:
    return JSONResponse(msgspec.to_builtins(await blocking(state_of(request).access.audit.verify)))
