"""/api/v1/models, /aliases, /loaded: the model library and the memory of this server.

A key sees the models that are everybody's and those of its project; what it pulls is its project's. Names that point into the
server's disk (file:, ollama:) are refused: importing is for the CLI of that machine.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from fastapi import Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.engine.slots import LoadedInfo
from llmos.errors import LLMOSError
from llmos.library.base import Progress
from llmos.server import problems
from llmos.server.fields import Body
from llmos.server.guard import audit_target
from llmos.server.scopes import ScopedRouter, needs
from llmos.server.work import (
    EventStream,
    blocking,
    caller_of,
    library_of,
    refuse_local_path,
    session_for,
    state_of,
    told_of,
    watched,
)

router = ScopedRouter(Scope.INFERENCE, prefix="/api/v1", tags=["Library"])


class PullBody(Body):
    """stream: one JSON object a line while it goes on, the last with the card; otherwise the card at the end."""

    name: str = Field(min_length=1, max_length=2048)
    accept_licence: bool = False
    stream: bool = True


class NameBody(Body):
    name: str = Field(min_length=1, max_length=2048)


class CollectBody(Body):
    dry_run: bool = True


class AliasBody(Body):
    target: str = Field(min_length=1, max_length=2048)
    reason: str = Field("", max_length=1024)


class ReasonBody(Body):
    reason: str = Field("", max_length=1024)


class LoadBody(Body):
    """engine: "openvino" or "openvino/f32-group32" to overrule the measured choice. keep_alive_s: -1 to stay."""

    name: str = Field(min_length=1, max_length=2048)
    engine: str | None = Field(None, max_length=128)
    keep_alive_s: float | None = Field(None, ge=-1)


def plain(record: Any) -> Any:
    """Dataclasses, enums and paths as JSON values."""
    return msgspec.to_builtins(record, enc_hook=str)


@router.get("/models", response_model=None, summary="Cards of all models in the library")
async def list_models(request: Request) -> Response:
    library = library_of(request)
    return JSONResponse({"models": await blocking(lambda: [plain(card) for card in library.list()])})


@router.get("/models/{name:path}", response_model=None, summary="The card of one model")
async def show(name: str, request: Request) -> Response:
    library = library_of(request)
    return JSONResponse(plain(await blocking(lambda: library.show(refuse_local_path(name)))))


@router.delete(
    "/models/{name:path}", response_model=None, openapi_extra=needs(Scope.LIBRARY), summary="Remove a model from the library"
)
async def remove(name: str, request: Request) -> Response:
    library = library_of(request)
    freed = await blocking(lambda: library.remove(refuse_local_path(name)))
    return JSONResponse({"removed": name, "freed_bytes": freed})


@router.post("/models/pull", response_model=None, openapi_extra=needs(Scope.LIBRARY), summary="Download a model")
async def pull(body: PullBody, request: Request) -> Response:
    library, stop = library_of(request), threading.Event()
    audit_target(request, refuse_local_path(body.name))
    loop = asyncio.get_running_loop()
    reports: asyncio.Queue[Progress | None] = asyncio.Queue()

    def report(progress: Progress) -> None:
        loop.call_soon_threadsafe(reports.put_nowait, progress)

    request.state.at_end.append(stop.set)
    work = asyncio.ensure_future(
        blocking(lambda: library.pull(body.name, progress=report, accept_licence=body.accept_licence, cancel=stop))
    )
    if not body.stream:
        return JSONResponse(plain(await watched(request.receive, stop.set, work)))
    work.add_done_callback(lambda _: reports.put_nowait(None))

    async def lines() -> AsyncIterator[bytes]:
        while (progress := await reports.get()) is not None:
            yield json.dumps(plain(progress)).encode() + b"\n"
        try:
            last = {"card": plain(await work)}
        except LLMOSError as error:
            last = problems.body_of(error)
        yield json.dumps(last).encode() + b"\n"

    return EventStream(lines(), stop.set, {}, media_type="application/x-ndjson")


@router.post(
    "/models/verify",
    response_model=None,
    openapi_extra=needs(Scope.LIBRARY),
    summary="Check every file of a model against its hash",
)
async def verify(body: NameBody, request: Request) -> Response:
    library = library_of(request)
    verdicts = await blocking(lambda: library.verify(refuse_local_path(body.name)))
    return JSONResponse({"files": plain(verdicts)})


@router.post(
    "/models/gc",
    response_model=None,
    openapi_extra=needs(Scope.ADMIN),
    summary="Remove files that no model uses; dry_run shows them",
)
async def collect(body: CollectBody, request: Request) -> Response:
    library = library_of(request)
    return JSONResponse(plain(await blocking(lambda: library.gc(dry_run=body.dry_run))))


@router.get("/aliases", response_model=None, summary="All aliases and what they stand for")
async def aliases(request: Request) -> Response:
    library = library_of(request)
    return JSONResponse({"aliases": plain(await blocking(library.aliases))})


@router.put(
    "/aliases/{name}",
    response_model=None,
    openapi_extra=needs(Scope.ADMIN, action="alias.set"),
    summary="Point an alias at a model",
)
async def set_alias(name: str, body: AliasBody, request: Request) -> Response:
    library, actor = library_of(request), caller_of(request).key_id
    await blocking(lambda: library.alias(name, refuse_local_path(body.target), reason=body.reason, actor=actor))
    audit_target(request, f"{name} -> {body.target}")
    return JSONResponse({"name": name, "target": body.target})


@router.delete(
    "/aliases/{name}", response_model=None, openapi_extra=needs(Scope.ADMIN, action="alias.remove"), summary="Remove an alias"
)
async def unset_alias(name: str, request: Request) -> Response:
    library, actor = library_of(request), caller_of(request).key_id
    await blocking(lambda: library.unalias(name, actor=actor))
    return JSONResponse({"removed": name})


@router.get(
    "/aliases/{name}/history",
    response_model=None,
    openapi_extra=needs(Scope.ADMIN),
    summary="What an alias stood for, and who moved it when",
)
async def history(name: str, request: Request) -> Response:
    library = library_of(request)
    return JSONResponse({"history": plain(await blocking(lambda: library.alias_history(name)))})


@router.post(
    "/aliases/{name}/rollback",
    response_model=None,
    openapi_extra=needs(Scope.ADMIN, action="alias.rollback"),
    summary="Point an alias at what it stood for before",
)
async def rollback(name: str, request: Request) -> Response:
    library, actor = library_of(request), caller_of(request).key_id
    target = await blocking(lambda: library.rollback_alias(name, actor=actor))
    audit_target(request, f"{name} -> {target}")
    return JSONResponse({"name": name, "target": target})


@router.get("/loaded", response_model=None, summary="Models in memory")
async def loaded(request: Request) -> Response:
    pool = state_of(request).pool
    return JSONResponse({"loaded": plain(await blocking(lambda: loaded_for(request))), "budget_bytes": pool.budget_bytes})


def loaded_for(request: Request) -> list[LoadedInfo]:
    """What is in memory, of what the caller may see."""
    found = state_of(request).pool.loaded()
    if caller_of(request).everywhere:
        return found
    mine = {(card.name, card.version) for card in library_of(request).list()}
    return [info for info in found if (info.name, info.version) in mine]


@router.post("/loaded", response_model=None, summary="Load a model now")
async def load(body: LoadBody, request: Request) -> Response:
    session = await session_for(request, body.name, engine=body.engine, keep_alive_s=body.keep_alive_s)
    content = {
        "card": plain(session.card),
        "requested": body.name,
        "notice": session.notice,
        "context_length": session.context_length,
        "chats": session.chats,
    }
    return JSONResponse(content, headers=told_of(session))


@router.delete("/loaded/{name:path}", response_model=None, openapi_extra=needs(Scope.ADMIN), summary="Free a model's memory")
async def unload(name: str, request: Request) -> Response:
    pool = state_of(request).pool
    await blocking(lambda: pool.unload(refuse_local_path(name)))
    return JSONResponse({"unloaded": name})
