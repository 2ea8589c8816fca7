"""Liveness, readiness and figures. /healthz and /readyz are the only routes that need no key, and say nothing else."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from llmos.server.work import blocking, state_of

router = APIRouter(tags=["Health"])


@router.get("/healthz", response_model=None, summary="The process answers")
async def healthz() -> Response:
    return JSONResponse({"status": "ok"})


@router.get("/readyz", response_model=None, summary="The server takes work; 503 while it starts or stops")
async def readyz(request: Request) -> Response:
    state = state_of(request)
    ready = state.ready and not state.draining
    return JSONResponse({"status": "ready" if ready else "stopping" if state.draining else "starting"}, 200 if ready else 503)


@router.get("/metrics", response_model=None, summary="Prometheus metrics")
async def metrics(request: Request) -> Response:
    state = state_of(request)
    loaded = await blocking(state.pool.loaded)
    state.metrics.loaded.set(len(loaded))
    state.metrics.memory.set(sum(info.memory_bytes for info in loaded))
    state.metrics.running.set(state.admission.running)
    state.metrics.waiting.set(state.admission.waiting)
    return Response(state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
