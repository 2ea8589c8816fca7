"""`AsyncLLMOS` and `AsyncModel`: the same methods for an event loop.

Every call runs in a thread, so that neither a download nor an engine holds up the loop; streams are `async for`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from llmos.library.aliases import AliasMove
from llmos.library.base import ModelCard
from llmos.library.janitor import FileVerdict, GcReport
from llmos.sdk.annotations_aio import AsyncAnnotations
from llmos.sdk.base import Labels, LongInput, Ranked, Scored
from llmos.sdk.client import LLMOS
from llmos.sdk.data_aio import AsyncData
from llmos.sdk.jobs_aio import AsyncJobs
from llmos.sdk.model import Chat, Model, Texts
from llmos.sdk.options import Options
from llmos.sdk.status import Status
from llmos.sdk.text import Text, TextStream
from llmos.types import Prediction, Tool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class AsyncModel:
    """`Model` with awaitable methods; see there for what each does and raises."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.card, self.name, self.notice, self.chats = model.card, model.name, model.notice, model.chats

    @overload
    async def generate_text(self, prompt: str, *, timeout_s: float | None = None, **options: Unpack[Options]) -> Text: ...

    @overload
    async def generate_text(self, prompt: Texts, *, timeout_s: float | None = None, **options: Unpack[Options]) -> list[Text]: ...

    async def generate_text(
        self, prompt: str | Texts, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> Text | list[Text]:
        return await asyncio.to_thread(lambda: self._model.generate_text(prompt, timeout_s=timeout_s, **options))

    async def chat(
        self, messages: Chat, *, tools: Sequence[Tool] = (), tool_choice: str = "auto", timeout_s: float | None = None,
        **options: Unpack[Options],
    ) -> Text:  # fmt: skip
        call = self._model.chat
        return await asyncio.to_thread(call, messages, tools=tools, tool_choice=tool_choice, timeout_s=timeout_s, **options)

    async def stream(
        self, prompt: str | None = None, *, messages: Chat | None = None, tools: Sequence[Tool] = (),
        timeout_s: float | None = None, **options: Unpack[Options],
    ) -> TextStream:  # fmt: skip
        """`async for piece in await model.stream("…")`."""
        call = self._model.stream
        return await asyncio.to_thread(call, prompt, messages=messages, tools=tools, timeout_s=timeout_s, **options)

    @overload
    async def predict(
        self, text: str, labels: Labels, *, multi_label: bool = False, threshold: float = 0.5, template: str | None = None
    ) -> Prediction: ...

    @overload
    async def predict(
        self, text: Texts, labels: Labels, *, multi_label: bool = False, threshold: float = 0.5,
        template: str | None = None,
    ) -> list[Prediction]: ...  # fmt: skip

    async def predict(
        self, text: str | Texts, labels: Labels, *, multi_label: bool = False, threshold: float = 0.5,
        template: str | None = None,
    ) -> Prediction | list[Prediction]:  # fmt: skip
        call = self._model.predict
        return await asyncio.to_thread(call, text, labels, multi_label=multi_label, threshold=threshold, template=template)

    @overload
    async def translate(
        self, text: str, target_language: str, source_language: str | None = None, **options: Unpack[Options]
    ) -> str: ...

    @overload
    async def translate(
        self, text: Texts, target_language: str, source_language: str | None = None, **options: Unpack[Options]
    ) -> list[str]: ...

    async def translate(
        self, text: str | Texts, target_language: str, source_language: str | None = None, **options: Unpack[Options]
    ) -> str | list[str]:
        return await asyncio.to_thread(lambda: self._model.translate(text, target_language, source_language, **options))

    @overload
    async def summarize(self, text: str, **options: Unpack[Options]) -> str: ...

    @overload
    async def summarize(self, text: Texts, **options: Unpack[Options]) -> list[str]: ...

    async def summarize(self, text: str | Texts, **options: Unpack[Options]) -> str | list[str]:
        return await asyncio.to_thread(lambda: self._model.summarize(text, **options))

    async def embed(self, text: str | Texts, *, long: LongInput = "error") -> NDArray[np.float32]:
        return await asyncio.to_thread(self._model.embed, text, long=long)

    async def rerank(self, query: str, documents: Sequence[str], *, top_n: int | None = None) -> list[Ranked]:
        return await asyncio.to_thread(self._model.rerank, query, documents, top_n=top_n)

    async def score(self, prompt: str, continuations: Sequence[str]) -> list[Scored]:
        return await asyncio.to_thread(self._model.score, prompt, continuations)

    async def tokenize(self, text: str) -> list[int]:
        return await asyncio.to_thread(self._model.tokenize, text)

    async def detokenize(self, ids: Sequence[int]) -> str:
        return await asyncio.to_thread(self._model.detokenize, ids)


class AsyncLLMOS:
    """`LLMOS` for an event loop. Takes the same arguments."""

    def __init__(self, url: str | None = None, **arguments: Any) -> None:
        self._llmos = LLMOS(url, **arguments)

    async def load_model(self, name: str, *, engine: str | None = None) -> AsyncModel:
        return AsyncModel(await asyncio.to_thread(self._llmos.load_model, name, engine=engine))

    async def pull(self, name: str, *, accept_licence: bool = False) -> ModelCard:
        return await asyncio.to_thread(self._llmos.pull, name, accept_licence=accept_licence)

    async def models(self) -> list[ModelCard]:
        return await asyncio.to_thread(self._llmos.models)

    async def show(self, name: str) -> ModelCard:
        return await asyncio.to_thread(self._llmos.show, name)

    async def remove(self, name: str) -> None:
        await asyncio.to_thread(self._llmos.remove, name)

    async def set_alias(self, name: str, target: str, *, reason: str = "") -> None:
        await asyncio.to_thread(self._llmos.set_alias, name, target, reason=reason)

    async def remove_alias(self, name: str, *, reason: str = "") -> None:
        await asyncio.to_thread(self._llmos.remove_alias, name, reason=reason)

    async def rollback_alias(self, name: str) -> str:
        return await asyncio.to_thread(self._llmos.rollback_alias, name)

    async def alias_history(self, name: str) -> list[AliasMove]:
        return await asyncio.to_thread(self._llmos.alias_history, name)

    async def import_model(self, path: str | Path, *, name: str | None = None) -> ModelCard:
        return await asyncio.to_thread(self._llmos.import_model, path, name=name)

    async def verify(self, name: str) -> list[FileVerdict]:
        return await asyncio.to_thread(self._llmos.verify, name)

    async def gc(self, *, dry_run: bool = False) -> GcReport:
        return await asyncio.to_thread(self._llmos.gc, dry_run=dry_run)

    async def aliases(self) -> dict[str, str]:
        return await asyncio.to_thread(self._llmos.aliases)

    async def loaded(self) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self._llmos.loaded)

    async def unload(self, name: str) -> None:
        await asyncio.to_thread(self._llmos.unload, name)

    @property
    def jobs(self) -> AsyncJobs:
        return AsyncJobs(self._llmos._transport.jobs)

    @property
    def annotations(self) -> AsyncAnnotations:
        return AsyncAnnotations(self._llmos.annotations)

    @property
    def data(self) -> AsyncData:
        return AsyncData(self._llmos.data)

    async def status(self) -> Status:
        return await asyncio.to_thread(self._llmos.status)

    async def close(self) -> None:
        await asyncio.to_thread(self._llmos.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
