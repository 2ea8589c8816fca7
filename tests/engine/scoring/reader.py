"""A double that reads: it finds an answer the likelier, the more of its letters stand behind the question's text mark.

Log-probability of a continuation: 0 where its text (without the end) occurs in the part of the prompt that the caller's text is,
-3 where not; always -BIAS for one starting with "b". So calibration, sharing and order can be checked by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmos.engine.base import Adapter, Engine, Feature, Handle, Request, ScoreItem, ScoreResult
from llmos.engine.session import FixedEngine, Session
from llmos.text.load import load_chat_template, load_tokenizer
from llmos.types import Family, TokenIds, TokenLogprob
from tests.doubles import EOS, IM_END, MASK, fake_card, make_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BIAS = 2.0


class Reader(Engine):
    """`calls` holds the items of each score call."""

    backend, variant = "reader", "default"
    features = frozenset({Feature.SCORE, Feature.FILL_MASK})
    memory_bytes, load_s, context_length = 1, 0.0, 4096

    def __init__(self, family: Family) -> None:
        self.card = fake_card("reader", family, context_length=4096)
        self.calls: list[list[ScoreItem]] = []

    def submit(self, request: Request) -> Handle:
        raise NotImplementedError

    def score(self, items: Sequence[ScoreItem], *, top: int = 0, adapter: Adapter | None = None) -> list[ScoreResult]:
        self.calls.append(list(items))
        return [ScoreResult(continuations=tuple(self._one(item.prompt, ids) for ids in item.continuations)) for item in items]

    def _one(self, prompt: TokenIds, ids: TokenIds) -> tuple[TokenLogprob, ...]:
        text, word = plain(prompt).split("Text:")[-1], plain(ids).strip()
        total = (0.0 if word in text else -3.0) - (BIAS if word.startswith("b") else 0.0)
        return tuple(TokenLogprob(token, total / len(ids)) for token in ids)

    def fill_mask(self, inputs: Sequence[TokenIds], candidates: Sequence[int] | None = None) -> list[NDArray[np.float32]]:
        """A token that stands in the text before is likelier by 3."""
        import numpy as np

        assert candidates is not None
        return [
            np.array([[(-1.0 if c in ids else -4.0) for c in candidates] for i in ids if i == MASK], dtype=np.float32)
            for ids in inputs
        ]

    def close(self) -> None:
        """Nothing to free."""


def plain(ids: TokenIds) -> str:
    return bytes(token for token in ids if token < 256).decode("utf-8", "replace")


def session(folder: Path, family: Family, *, template: bool = True) -> tuple[Session, Reader]:
    make_model(folder)
    engine = Reader(family)
    found = Session(
        card=engine.card,
        engines=FixedEngine(engine),
        tokenizer=load_tokenizer(folder),
        template=load_chat_template(folder) if template else None,
    )
    return found, engine


__all__ = ["BIAS", "EOS", "IM_END", "Reader", "plain", "session"]
