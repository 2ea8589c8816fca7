"""An LLMOS plugin: an engine called `parrot` that answers every prompt with the prompt itself.

It comes through the same door as the built-ins: the entry point names this module, and importing it registers the backend.
"""

from __future__ import annotations

from pathlib import Path

from llmos.engine.base import (
    Availability,
    Backend,
    Chunk,
    Engine,
    Feature,
    Handle,
    LoadOptions,
    Request,
    Support,
    Variant,
    backends,
)
from llmos.library.base import ModelCard
from llmos.types import Family


class ParrotEngine(Engine):
    backend = "parrot"
    variant = "default"
    features = frozenset({Feature.GENERATE})
    memory_bytes = 0
    load_s = 0.0

    def __init__(self, card: ModelCard, options: LoadOptions) -> None:
        self.card = card
        self.context_length = options.context_length

    def submit(self, request: Request) -> Handle:
        handle = Handle(request)
        said = request.prompt[: request.sampling.max_tokens]
        handle.push(Chunk(token_ids=said, finish_reason="length" if len(said) < len(request.prompt) else "stop"))
        handle.close()
        return handle

    def close(self) -> None:
        pass


@backends.register("parrot")
class ParrotBackend(Backend):
    name = "parrot"

    def availability(self) -> Availability:
        return Availability(ok=True, version="1.0.0", why="part of llmos-plugin-example")

    def supports(self, card: ModelCard) -> Support:
        return Support(ok=card.family is Family.CAUSAL, why="repeats any causal prompt", features=ParrotEngine.features)

    def load(self, card: ModelCard, folder: Path, variant: Variant, options: LoadOptions) -> Engine:
        return ParrotEngine(card, options)
