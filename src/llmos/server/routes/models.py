"""GET /v1/models and /v1/models/{model}: what this server can answer with, aliases included."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.library.base import ModelCard
from llmos.server.answers import ModelEntry, ModelList, documented
from llmos.server.scopes import ScopedRouter
from llmos.server.work import blocking, library_of, refuse_local_path

router = ScopedRouter(Scope.INFERENCE, tags=["OpenAI"])


def created(card: ModelCard) -> int:
    """Seconds since 1970; 0 when the card does not say."""
    return int(datetime.fromisoformat(card.created_at).timestamp()) if card.created_at else 0


def entry(card: ModelCard, name: str) -> dict[str, Any]:
    """The OpenAI object with what other servers add: context length (vLLM's max_model_len), the model behind an alias."""
    return {
        "id": name,
        "object": "model",
        "created": created(card),
        "owned_by": card.source or "local",
        "root": card.ref,
        "max_model_len": card.context_length or None,
        "tasks": [task.value for task in card.tasks],
    }


@router.get("/v1/models", response_model=None, responses=documented(ModelList), summary="List the models in the library")
async def list_models(request: Request) -> Response:
    library = library_of(request)

    def find() -> list[dict[str, Any]]:
        cards = list(library.list())
        by_ref = {name: card for card in reversed(cards) for name in (card.name, f"{card.name}:{card.version}", card.ref)}
        aliases = [(name, by_ref[target]) for name, target in library.aliases().items() if target in by_ref]
        return [entry(card, name) for name, card in [*((card.name, card) for card in cards), *aliases]]

    return JSONResponse({"object": "list", "data": await blocking(find)})


@router.get(
    "/v1/models/{model:path}", response_model=None, responses=documented(ModelEntry), summary="One model, by name, version or alias"
)
async def get_model(model: str, request: Request) -> Response:
    library = library_of(request)
    resolved = await blocking(lambda: library.resolve(refuse_local_path(model)))
    return JSONResponse(entry(resolved.card, model))
