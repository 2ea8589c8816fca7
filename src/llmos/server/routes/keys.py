"""/api/v1/keys and /api/v1/projects: who may use this server, for what and how much.

Only keys with the scope admin get here, and the machine's own user while there is no key. A key's own usage is at /api/v1/usage.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import Path, Query, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from llmos.access.base import DEFAULT_PROJECT, Quotas, Scope
from llmos.access.keys import GRACE_S, MAX_S, Key
from llmos.server.access_answers import KeyAnswer, KeyListAnswer, NewKeyAnswer, ProjectAnswer, ProjectListAnswer
from llmos.server.answers import documented
from llmos.server.fields import Body
from llmos.server.guard import audit_target
from llmos.server.scopes import ScopedRouter, needs
from llmos.server.work import blocking, state_of

router = ScopedRouter(Scope.ADMIN, prefix="/api/v1", tags=["Keys"])

Ref = Annotated[str, Path(max_length=128, description="Id of the key, or its name when no other key has it.")]
Count = Annotated[int | None, Field(ge=0, lt=2**62)]


class QuotaBody(Body):
    """Left out: no limit. Minutes and days are those of UTC; jobs: unfinished ones; disk_bytes: of files."""

    requests_per_minute: Count = None
    tokens_per_minute: Count = None
    requests_per_day: Count = None
    tokens_per_day: Count = None
    jobs: Count = None
    disk_bytes: Count = None


class KeyBody(Body):
    """A new key. priority: the most urgent class that its requests and jobs may have."""

    name: str = Field(min_length=1, max_length=128)
    project: str = Field(DEFAULT_PROJECT, min_length=1, max_length=64)
    scopes: list[Scope] = Field(default_factory=lambda: [Scope.INFERENCE], min_length=1, max_length=8)
    priority: Literal["interactive", "normal", "batch"] = "interactive"
    quotas: QuotaBody = Field(default_factory=QuotaBody)
    expires_in_s: float | None = Field(None, ge=1, le=MAX_S, allow_inf_nan=False)


class RotateBody(Body):
    """grace_s: how long the old key stays valid beside the new one."""

    grace_s: float = Field(GRACE_S, ge=0, le=MAX_S, allow_inf_nan=False)


class ProjectBody(Body):
    log_contents: bool


def shown(key: Key) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(key)
    return found | {"state": key.state}


@router.get("/keys", response_model=None, responses=documented(KeyListAnswer), summary="All keys, the newest first")
async def list_keys(request: Request, project: Annotated[str | None, Query(max_length=64)] = None) -> Response:
    keys = state_of(request).access.keys
    return JSONResponse({"keys": await blocking(lambda: [shown(key) for key in keys.list(project=project)])})


@router.post(
    "/keys",
    response_model=None,
    responses=documented(NewKeyAnswer),
    summary="Make a key; it is shown once",
)
async def create(body: KeyBody, request: Request) -> Response:
    access = state_of(request).access
    fields = body.model_dump(exclude={"quotas"}) | {"quotas": Quotas(**body.quotas.model_dump())}
    key, text = await blocking(lambda: access.keys.create(**fields))
    access.ring.changed()
    return JSONResponse(shown(key) | {"key": text})


@router.get("/keys/{key}", response_model=None, responses=documented(KeyAnswer), summary="One key")
async def show(key: Ref, request: Request) -> Response:
    keys = state_of(request).access.keys
    return JSONResponse(shown(await blocking(lambda: keys.get(key))))


@router.post(
    "/keys/{key}/revoke",
    response_model=None,
    responses=documented(KeyAnswer),
    summary="Make a key invalid, at once and for ever",
)
async def revoke(key: Ref, request: Request) -> Response:
    access = state_of(request).access
    found = await blocking(lambda: access.keys.revoke(key))
    access.ring.changed()
    audit_target(request, found.id)
    return JSONResponse(shown(found))


@router.post(
    "/keys/{key}/rotate",
    response_model=None,
    responses=documented(NewKeyAnswer),
    summary="Replace a key; the old one stays valid for a while",
)
async def rotate(key: Ref, body: RotateBody, request: Request) -> Response:
    access = state_of(request).access
    new, text = await blocking(lambda: access.keys.rotate(key, grace_s=body.grace_s))
    access.ring.changed()
    audit_target(request, f"{new.replaces} -> {new.id}")
    return JSONResponse(shown(new) | {"key": text})


@router.get("/projects", response_model=None, responses=documented(ProjectListAnswer), summary="All projects")
async def list_projects(request: Request) -> Response:
    projects = state_of(request).access.projects
    return JSONResponse({"projects": await blocking(lambda: msgspec.to_builtins(projects.list()))})


@router.put(
    "/projects/{project}",
    response_model=None,
    responses=documented(ProjectAnswer),
    openapi_extra=needs(action="projects.set"),
    summary="Settings of a project; a new name makes one",
)
async def set_project(project: Annotated[str, Path(max_length=64)], body: ProjectBody, request: Request) -> Response:
    access = state_of(request).access
    found = await blocking(lambda: access.projects.log_contents(project, body.log_contents))
    access.ring.changed()
    return JSONResponse(msgspec.to_builtins(found))
