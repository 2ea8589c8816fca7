"""The application: one FastAPI app from settings and a pool. `create_app` wires, it decides nothing.

app = create_app(settings, pool)      # the pool is closed when the app's lifespan ends
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

import llmos
from llmos.access.service import Access
from llmos.errors import InvalidValue, LLMOSError
from llmos.infra.database import Database, open_database
from llmos.infra.uploads import Uploads
from llmos.server import problems
from llmos.server.answers import ErrorAnswer, errors
from llmos.server.batch.lending import Lending
from llmos.server.gate import Gate, is_loopback
from llmos.server.gauges import Gauges
from llmos.server.guard import Guard
from llmos.server.limits import Admission, Limits
from llmos.server.metrics import Metrics
from llmos.server.recent import Recent
from llmos.server.routes import (
    annotate_page,
    anthropic,
    audit,
    batches,
    chat,
    completions,
    datasets,
    docs,
    embeddings,
    files,
    health,
    jobs,
    keys,
    library,
    models,
    moderations,
    ollama,
    rerank,
    responses,
    scoring,
    status,
    tasks,
    tokens,
)
from llmos.server.routes import annotations as annotation_routes
from llmos.server.scopes import RouteTable
from llmos.server.service import JobService
from llmos.server.state import State
from llmos.server.telemetry import Telemetry
from llmos.settings import Settings

if TYPE_CHECKING:
    from llmos.engine.pool import Pool
    from llmos.library.library import Library

ROUTES = (
    chat,
    completions,
    responses,
    embeddings,
    files,
    batches,
    rerank,
    scoring,
    moderations,
    models,
    tokens,
    library,
    jobs,
    status,
    keys,
    audit,
    annotation_routes,
    annotate_page,
    datasets,
    tasks,
    ollama,
    anthropic,
    health,
    docs,
)
WORKER_THREADS = 96  # requests wait in threads for loads and engines; more of them than admitted requests


def routed(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None) -> FastAPI:
    """The routes alone, for create_app and for the description in schema/openapi.json."""
    app = FastAPI(
        title="LLMOS",
        version=llmos.__version__,
        summary="OpenAI-compatible routes, LLMOS's own under /api/v1, adapters for Ollama and Anthropic clients.",
        lifespan=lifespan,
        responses=errors(ErrorAnswer),
        docs_url=None,
        redoc_url=None,
    )
    for module in ROUTES:
        app.include_router(module.router)
    return app


def _opened(settings: Settings, library: Library) -> tuple[Database, Access]:
    database = library.database or open_database(settings)
    access = Access(settings, database, local_is_open=is_loopback(settings.host))
    access.ring.refresh()
    if not is_loopback(settings.host) and not access.ring.locked:
        if library.database is None:
            database.close()
        raise InvalidValue(
            f"The address {settings.host} can be reached by others, and there is no key.",
            param="LLMOS_API_KEY",
            hint="Make one (llmos keys create NAME), set LLMOS_API_KEY, or bind 127.0.0.1.",
        )
    return database, access


def create_app(settings: Settings, pool: Pool, *, limits: Limits | None = None) -> FastAPI:
    """Raises InvalidValue when the address can be reached from outside and there is no key."""
    library = cast("Library", pool.library)
    database, access = _opened(settings, library)
    limits = limits or Limits(queue=settings.max_queue, upload_bytes=settings.max_upload_bytes)
    metrics = Metrics()
    telemetry = Telemetry(settings, metrics)
    service = JobService(settings, database, lambda: state.draining, pool)
    state = State(
        settings=settings,
        pool=pool,
        library=library,
        limits=limits,
        admission=Admission(limits),
        metrics=metrics,
        database=database,
        access=access,
        jobs=service.jobs,
        watcher=service.watcher,
        recent=Recent(),
        uploads=Uploads(database, settings.home / "files"),
    )
    lending = Lending(state)
    metrics.registry.register(Gauges(state, metrics))
    telemetry.trace_jobs(service.runner)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        threads = ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="llmos-request")
        asyncio.get_running_loop().set_default_executor(threads)
        access.start()
        lending.start()
        service.start()
        state.ready = True
        try:
            yield
        finally:
            state.draining = True
            await service.close()
            await asyncio.to_thread(lending.close)
            await asyncio.to_thread(pool.close)
            await asyncio.to_thread(telemetry.close)
            await asyncio.to_thread(access.close)
            if library.database is None:
                await asyncio.to_thread(database.close)

    app = routed(lifespan)
    app.state.llmos = state
    app.add_exception_handler(LLMOSError, problems.on_llmos_error)
    app.add_exception_handler(RequestValidationError, problems.on_validation_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    guard = Guard(access, RouteTable(module.router for module in ROUTES))
    app.add_middleware(Gate, settings=settings, limits=limits, guard=guard, observe=telemetry.over)
    return app
