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
from starlette.types import Scope

import llmos
from llmos.errors import InvalidValue, LLMOSError
from llmos.infra.logs import get_logger
from llmos.server import problems
from llmos.server.answers import ErrorAnswer, errors
from llmos.server.gate import Gate, is_loopback
from llmos.server.limits import Admission, Limits
from llmos.server.metrics import Metrics
from llmos.server.routes import (
    anthropic,
    chat,
    completions,
    docs,
    embeddings,
    health,
    library,
    models,
    moderations,
    ollama,
    rerank,
    responses,
    scoring,
    tasks,
    tokens,
)
from llmos.server.state import State
from llmos.settings import Settings

if TYPE_CHECKING:
    from llmos.engine.pool import Pool
    from llmos.library.library import Library

log = get_logger("server")
ROUTES = (
    chat,
    completions,
    responses,
    embeddings,
    rerank,
    scoring,
    moderations,
    models,
    tokens,
    library,
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


def create_app(settings: Settings, pool: Pool, *, limits: Limits | None = None) -> FastAPI:
    """Raises InvalidValue when the address can be reached from outside and no key is set."""
    if not is_loopback(settings.host) and settings.api_key is None:
        raise InvalidValue(
            f"The address {settings.host} can be reached by others and LLMOS_API_KEY is not set.",
            param="LLMOS_API_KEY",
            hint="Set a key, or bind 127.0.0.1.",
        )
    limits = limits or Limits(queue=settings.max_queue)
    metrics = Metrics()
    state = State(
        settings=settings,
        pool=pool,
        library=cast("Library", pool.library),
        limits=limits,
        admission=Admission(limits),
        metrics=metrics,
    )

    def observe(scope: Scope, status: int, seconds: float) -> None:
        metrics.observe(scope, status, seconds)
        noted = scope["state"]
        facts = {"method": scope["method"], "path": scope["path"], "status": status, "seconds": round(seconds, 4)}
        facts |= {"request_id": noted["request_id"], "user": noted.get("user")}
        facts |= {name: noted[name] for name in ("asked", "answered") if name in noted}
        log.info("request", extra=facts)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        threads = ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="llmos-request")
        asyncio.get_running_loop().set_default_executor(threads)
        state.ready = True
        try:
            yield
        finally:
            state.draining = True
            await asyncio.to_thread(pool.close)

    app = routed(lifespan)
    app.state.llmos = state
    app.add_exception_handler(LLMOSError, problems.on_llmos_error)
    app.add_exception_handler(RequestValidationError, problems.on_validation_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_middleware(Gate, settings=settings, limits=limits, observe=observe)
    return app
