"""The transport of this process: library, pool and engines inline. Heavy parts are imported on first use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from llmos.engine.choice import Work
from llmos.engine.pool import Pool
from llmos.engine.session import Session
from llmos.library.aliases import AliasMove
from llmos.library.base import ModelCard, Progress
from llmos.library.janitor import FileVerdict, GcReport
from llmos.library.library import Library
from llmos.plugins import load_plugins
from llmos.sdk.annotations_local import LocalAnnotations
from llmos.sdk.base import Labels, LongInput, Opened, Ranked, Scored, Transport
from llmos.sdk.data_local import LocalData
from llmos.sdk.jobs_local import LocalJobs
from llmos.sdk.status import ModelStatus, Status, gather
from llmos.sdk.text import Answer
from llmos.settings import Settings
from llmos.types import Message, Prediction, Sampling, Tool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class LocalTransport(Transport):
    """Owns a Library and a Pool. `notify` receives sentences that the user should read once (what an alias stands for).
    one_shot: as for `LLMOS`."""

    def __init__(self, settings: Settings, notify: Callable[[str], None], *, one_shot: bool = False) -> None:
        load_plugins()
        self.library = Library.open(settings)
        self.pool = Pool(settings, self.library, inline=True, notify=notify, one_shot=one_shot)
        self._jobs = LocalJobs(settings, self.library.database, notify=notify)
        self._annotations = LocalAnnotations(settings, self.library.database)
        self._data = LocalData(settings, self.library, notify=notify)
        self._engines: dict[str, str | None] = {}
        self._notify = notify
        self._told: set[str] = set()

    def _session(self, name: str, progress: Callable[[Progress], None] | None = None) -> Session:
        return self.pool.session(name, engine=self._engines.get(name), progress=progress)

    def open(self, name: str, *, engine: str | None, progress: Callable[[Progress], None] | None) -> Opened:
        self._engines[name] = engine
        session = self._session(name, progress)
        if session.notice and session.notice not in self._told:
            self._told.add(session.notice)
            self._notify(session.notice)
        return Opened(card=session.card, requested=name, notice=session.notice, chats=session.chats)

    def complete(
        self, model: str, prompt: str, sampling: Sampling, *, timeout_s: float | None, work: Work = "decode", stream: bool = True
    ) -> Answer:
        return self._session(model).complete(prompt, sampling, deadline_s=timeout_s, work=work, stream=stream)

    def chat(
        self, model: str, messages: Sequence[Message], sampling: Sampling, *, tools: Sequence[Tool], tool_choice: str,
        timeout_s: float | None, work: Work = "decode", stream: bool = True,
    ) -> Answer:  # fmt: skip
        session = self._session(model)
        return session.chat(
            messages, sampling, tools=tools, tool_choice=tool_choice, deadline_s=timeout_s, work=work, stream=stream
        )

    def predict(
        self, model: str, texts: Sequence[str], labels: Labels, *, multi_label: bool, threshold: float, template: str | None
    ) -> list[Prediction]:
        from llmos.engine.scoring import predict

        session = self._session(model)
        return predict(session, list(texts), labels, multi_label=multi_label, threshold=threshold, template=template)

    def translate(self, model: str, texts: Sequence[str], target: str, source: str | None, sampling: Sampling) -> list[str]:
        from llmos.apps.translate import translate

        return translate(self._session(model), list(texts), target, source, sampling=sampling)

    def summarize(self, model: str, texts: Sequence[str], sampling: Sampling) -> list[str]:
        from llmos.apps.summarise import summarize

        return summarize(self._session(model), list(texts), sampling=sampling)

    def embed(self, model: str, texts: Sequence[str], *, long: LongInput) -> NDArray[np.float32]:
        return self._session(model).embed(texts, long=long)

    def rerank(self, model: str, query: str, documents: Sequence[str], top_n: int | None) -> list[Ranked]:
        from llmos.apps.rerank import rerank

        found = rerank(self._session(model), query, documents, top_n=top_n)
        return [Ranked(index=item.index, document=documents[item.index], score=item.score) for item in found]

    def score(self, model: str, prompt: str, continuations: Sequence[str]) -> list[Scored]:
        from llmos.engine.base import ScoreItem

        session = self._session(model)
        ids = tuple(session.encode(text, add_special=False) for text in continuations)
        result = session.score([ScoreItem(prompt=session.encode(prompt, add_special=True), continuations=ids)])[0]
        return [
            Scored(continuation=text, logprob=sum(token.logprob for token in tokens), num_tokens=len(tokens))
            for text, tokens in zip(continuations, result.continuations, strict=True)
        ]

    def tokenize(self, model: str, text: str) -> list[int]:
        return list(self._session(model).encode(text))

    def detokenize(self, model: str, ids: Sequence[int]) -> str:
        return self._session(model).decode(ids)

    # -- the library -------------------------------------------------------------------------------------------------
    def pull(self, name: str, *, accept_licence: bool, progress: Callable[[Progress], None] | None) -> ModelCard:
        return self.library.pull(name, accept_licence=accept_licence, progress=progress)

    def models(self) -> list[ModelCard]:
        return self.library.list()

    def show(self, name: str) -> ModelCard:
        return self.library.show(name)

    def remove(self, name: str) -> None:
        self.library.remove(name)

    def set_alias(self, name: str, target: str, reason: str) -> None:
        self.library.alias(name, target, reason=reason)

    def remove_alias(self, name: str, reason: str) -> None:
        self.library.unalias(name, reason)

    def rollback_alias(self, name: str) -> str:
        return self.library.rollback_alias(name)

    def aliases(self) -> dict[str, str]:
        return self.library.aliases()

    def alias_history(self, name: str) -> list[AliasMove]:
        return self.library.alias_history(name)

    def import_model(self, path: str, name: str | None) -> ModelCard:
        return self.library.import_path(path, name=name)

    def verify(self, name: str) -> list[FileVerdict]:
        return self.library.verify(name)

    def gc(self, *, dry_run: bool) -> GcReport:
        return self.library.gc(dry_run=dry_run)

    def loaded(self) -> list[dict[str, Any]]:
        from msgspec import to_builtins

        found: list[dict[str, Any]] = to_builtins(self.pool.loaded())
        return found

    def unload(self, name: str) -> None:
        self.pool.unload(name)

    # -- the kernel --------------------------------------------------------------------------------------------------
    @property
    def jobs(self) -> LocalJobs:
        return self._jobs

    @property
    def annotations(self) -> LocalAnnotations:
        return self._annotations

    @property
    def data(self) -> LocalData:
        return self._data

    def status(self) -> Status:
        loaded = tuple(ModelStatus.of(info) for info in self.pool.loaded())
        return gather(self._jobs.jobs, models=loaded, budget_bytes=self.pool.budget_bytes)

    def close(self) -> None:
        self._jobs.close()
        self.pool.close()
        self.library.database.close()
