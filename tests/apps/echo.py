"""A double that writes: it answers a prompt by a function of its text, one token a byte, and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmos.engine.base import Chunk, Engine, Feature, Handle, Request
from llmos.engine.session import FixedEngine, Session
from llmos.errors import EngineError
from llmos.library.base import ModelCard
from llmos.text.load import load_chat_template, load_tokenizer
from llmos.types import Family
from tests.doubles import fake_card, make_model


class Echo(Engine):
    """`answer` gives the text for a prompt; None means that the engine fails on it. `asked` keeps prompts and requests."""

    backend, variant = "echo", "default"
    features = frozenset({Feature.GENERATE})
    memory_bytes, load_s = 1, 0.0

    def __init__(self, card: ModelCard, answer: Callable[[str], str | None]) -> None:
        self.card, self.answer = card, answer
        self.context_length = card.context_length
        self.asked: list[tuple[str, Request]] = []
        self.cancelled = 0

    def submit(self, request: Request) -> Handle:
        text = bytes(token for token in request.prompt if token < 256).decode()
        self.asked.append((text, request))
        handle = Handle(request, on_cancel=self._count)
        answer = self.answer(text)
        if answer is None:
            handle.fail(EngineError("told to fail"))
            return handle
        ids = tuple(answer.encode())
        room = request.sampling.max_tokens
        assert room is not None
        handle.push(Chunk(token_ids=ids[:room], finish_reason="length" if len(ids) > room else "stop"))
        handle.close()
        return handle

    def _count(self) -> None:
        self.cancelled += 1

    def close(self) -> None:
        """Nothing to free."""


def echo(
    folder: Path,
    answer: Callable[[str], str | None],
    family: Family = Family.CAUSAL,
    *,
    template: bool = True,
    context_length: int = 2048,
    **card: Any,
) -> tuple[Session, Echo]:
    make_model(folder)
    engine = Echo(fake_card("echo", family, context_length=context_length, **card), answer)
    shown = load_chat_template(folder) if template and family is Family.CAUSAL else None
    session = Session(card=engine.card, engines=FixedEngine(engine), tokenizer=load_tokenizer(folder), template=shown)
    return session, engine
