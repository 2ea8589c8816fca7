"""What steps share that ask a model of the library: the session, kept answers, vectors, seeds that follow the row and not the order.

A step with a model runs in the coordinating process, and within a batch of rows as many questions are in flight as the engine takes.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from llmos.data.base import Models, Step, TextConfig
from llmos.data.synth.answerers import Read, Reading, Writing, can_keep_to_schema
from llmos.data.synth.asked import Answer, Question
from llmos.engine.asking import need_writer
from llmos.errors import EngineError, InvalidValue
from llmos.types import Sampling

if TYPE_CHECKING:
    from llmos.engine.session import Session

Vectors = np.ndarray[Any, np.dtype[np.float32]]


class ModelConfig(TextConfig):
    model: str = Field(min_length=1, description="Name of a model of the library, such as smollm2-135m-instruct.")


class DrawnConfig(ModelConfig):
    temperature: float = Field(0.0, ge=0, le=2, description="0 writes the likeliest answer; more, a drawn one.")
    top_p: float = Field(1.0, gt=0, le=1, description="Draws from the likeliest tokens that have this much probability together.")


class WritingConfig(DrawnConfig):
    max_tokens: int = Field(512, ge=1, description="Longest answer. One that does not end by then is refused, never cut.")


class ModelStep(Step):
    """A step with a model; combine it with Filter, Mapper, Expander or Gatherer. Loads nothing before the first rows."""

    needs_model: ClassVar[bool] = True
    models: ClassVar[tuple[str, ...]] = ("model",)

    @property
    def library(self) -> Models:
        """Raises InvalidValue when the run was started without models."""
        if self.context.models is None:
            raise InvalidValue(
                f"The step {self.name} asks a model, and this run has none.", param="models", hint="Run(models=LibraryModels(…))."
            )
        return self.context.models

    def session(self, name: str = "") -> Session:
        return self.library.session(name or self.config.model)

    def ref(self, name: str = "") -> str:
        """How the model is named in rows: name and version."""
        return self.session(name).card.ref

    # -- asking --------------------------------------------------------------------------------------------------------
    def write(self, questions: Sequence[Question], model: str = "") -> list[Answer]:
        """Answers with "text" and "finish_reason"; one that did not come to its end is refused."""
        session = self.session(model)
        need_writer(session, self.name)
        return [
            Answer(body={}, refused=f"The answer did not end within {asked['max_tokens']} tokens.")
            if answer.body.get("finish_reason") == "length"
            else answer
            for asked, answer in zip(questions, self.ask(questions, session), strict=True)
        ]

    def ask(self, questions: Sequence[Question], session: Session) -> list[Answer]:
        """As they come. Where no engine of the model can be held to a schema it is asked in words alone."""
        if not questions:
            return []
        most, context = max(one["max_tokens"] for one in questions), session.context_length
        if context and most >= context:
            raise InvalidValue(
                f"max_tokens is {most}; the context of {session.card.ref} is {context} tokens, prompt and answer.",
                param="max_tokens",
            )
        if "schema" in questions[0] and not can_keep_to_schema(session, questions[0]):
            questions = [{name: value for name, value in one.items() if name != "schema"} for one in questions]
        return self.library.asked(session, Writing.how).ask(questions, Writing(session, questions[0]))

    def read(
        self, how: str, questions: Sequence[Question], read: Read, ids: Sequence[str], model: str = ""
    ) -> list[dict[str, Any]]:
        """The answers of a model that measures. how: the way, with all that decides the answers beside question and model. ids: of the
        rows, for errors. Raises EngineError naming the row that cannot be measured."""
        session = self.session(model)
        found = self.library.asked(session, how).ask(questions, Reading(session, read)) if questions else []
        for row, answer in zip(ids, found, strict=True):
            if answer.refused:
                raise EngineError(f"{self.name}: {session.card.ref} cannot read the row {row}: {answer.refused}")
        return [answer.body for answer in found]

    def vectors(self, texts: Sequence[str], ids: Sequence[str], model: str = "") -> Vectors:
        """[N, D] of length 1. A text past the context is the mean of its parts."""
        answers = self.read("embed 1", [{"text": text} for text in texts], _embed, ids, model)
        raw = [np.frombuffer(base64.b64decode(answer["vector"]), dtype=np.float32) for answer in answers]
        if not raw:
            return np.zeros((0, self.session(model).base.embedding_dim), dtype=np.float32)
        found = np.stack(raw)
        unit: Vectors = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return unit

    # -- drawing -------------------------------------------------------------------------------------------------------
    def sampling(self, row: str, nth: int = 0, *, temperature: float | None = None) -> Sampling:
        """Of a DrawnConfig with max_tokens, drawn for the nth answer to that row: whoever asks, and in whatever order, draws the same."""
        config: Any = self.config
        warm = config.temperature if temperature is None else temperature
        seed = seed_of(self.context.seed, self.name, row, nth) if warm else None
        return Sampling(max_tokens=config.max_tokens, temperature=warm, top_p=config.top_p, seed=seed)


def seed_of(*what: object) -> int:
    """31 bits that follow from these values alone."""
    return int.from_bytes(blake2b(repr(what).encode(), digest_size=4).digest(), "big") >> 1


def _embed(session: Session, questions: Sequence[Question]) -> list[dict[str, Any]]:
    texts = [question["text"] for question in questions]
    found = session.embed(texts, long="mean" if session.tokenizer is not None else "error")
    return [{"vector": base64.b64encode(row.astype(np.float32).tobytes()).decode()} for row in found]
