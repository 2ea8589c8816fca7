"""Liveness, readiness and figures. /healthz and /readyz are the only routes that need no key, and say nothing else."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.server.scopes import ScopedRouter, needs
from llmos.server.work import blocking, state_of

router = ScopedRouter(None, tags=["Health"])


@router.get("/healthz", response_model=None, summary="The process answers")
async def healthz() -> Response:
    return JSONResponse({"status": "ok"})


@router.get("/readyz", response_model=None, summary="The server takes work; 503 while it starts or stops")
async def readyz(request: Request) -> Response:
    state = state_of(request)
    ready = state.ready and not state.draining
    return JSONResponse({"status": "ready" if ready else "stopping" if state.draining else "starting"}, 200 if ready else 503)


@router.get("/metrics", response_model=None, openapi_extra=needs(Scope.METRICS), summary="Prometheus metrics")
async def metrics(request: Request) -> Response:
    text = await blocking(state_of(request).metrics.text)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
