"""The contract of a transport: what `LLMOS` and `Model` need, wherever the models are.

    LocalTransport   this process: library and engines inline          LLMOS()
    HTTPTransport    a server, through its documented routes           LLMOS("http://host:8000", api_key=...)

Both have the same methods with the same errors, so a program moves from one to the other by its constructor alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from llmos.engine.choice import Work
from llmos.kernel.base import Job, JobEvent, JobSpec, JobState
from llmos.library.aliases import AliasMove
from llmos.library.base import ModelCard, Progress
from llmos.library.janitor import FileVerdict, GcReport
from llmos.sdk.annotations_base import AnnotationCalls
from llmos.sdk.data_base import DataCalls
from llmos.sdk.status import Status
from llmos.sdk.text import Answer
from llmos.types import Message, Prediction, Sampling, Tool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Labels = Sequence[str] | Mapping[str, str]
LongInput = Literal["error", "mean"]
Steering = Literal["cancel", "pause", "resume"]

# `list` is a method below; inside the class its name means that.
JobRows = list[Job]
EventRows = list[JobEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A model that is ready. `notice` says what the name stands for when that is not itself; chats: whether it takes messages
    (of an adapter: whether its base model does)."""

    card: ModelCard
    requested: str
    notice: str
    chats: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One document of a rerank, best first. score: higher is more relevant; comparable within one call only."""

    index: int
    document: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Log-probability of one continuation: total, per token, and the number of its tokens."""

    continuation: str
    logprob: float
    num_tokens: int


class JobCalls(ABC):
    """The contract of jobs: where they are kept and asked for. Every method may be called from any thread; an id that is not
    there, or belongs to another project, is NotFound."""

    @abstractmethod
    def submit(self, spec: JobSpec) -> Job: ...

    @abstractmethod
    def get(self, job_id: str) -> Job: ...

    @abstractmethod
    def list(
        self, *, states: Sequence[JobState], kind: str | None, labels: Mapping[str, str], limit: int, before: str | None
    ) -> JobRows:
        """Newest first. before: only those older than this id, for the next page."""

    @abstractmethod
    def steer(self, job_id: str, how: Steering) -> Job: ...

    @abstractmethod
    def remove(self, job_id: str) -> None: ...

    @abstractmethod
    def events(self, job_id: str, *, after: int, limit: int) -> EventRows:
        """What has happened so far, from event `after` + 1 on."""

    @abstractmethod
    def follow(
        self, job_id: str, *, after: int, timeout_s: float | None = None, types: Sequence[str] = ()
    ) -> Generator[JobEvent, None, None]:
        """Events as they come, of the given types only (all when there are none), until the job is over. Raises
        DeadlineExceeded after timeout_s; the job goes on."""

    @abstractmethod
    def afollow(
        self, job_id: str, *, after: int, timeout_s: float | None = None, types: Sequence[str] = ()
    ) -> AsyncGenerator[JobEvent, None]:
        """`follow` for an event loop; leaving it leaves nothing behind."""


class Transport(ABC):
    """Every method may be called from any thread. Models are named as in `LLMOS.load_model`."""

    @abstractmethod
    def open(self, name: str, *, engine: str | None, progress: Callable[[Progress], None] | None) -> Opened: ...

    @abstractmethod
    def complete(
        self, model: str, prompt: str, sampling: Sampling, *, timeout_s: float | None, work: Work = "decode", stream: bool = True
    ) -> Answer:
        """work: "batch" for one of many prompts, for the choice of the engine. stream: False when nobody looks before the end."""

    @abstractmethod
    def chat(
        self, model: str, messages: Sequence[Message], sampling: Sampling, *, tools: Sequence[Tool], tool_choice: str,
        timeout_s: float | None, work: Work = "decode", stream: bool = True,
    ) -> Answer: ...  # fmt: skip

    @abstractmethod
    def predict(
        self, model: str, texts: Sequence[str], labels: Labels, *, multi_label: bool, threshold: float, template: str | None
    ) -> list[Prediction]: ...

    @abstractmethod
    def translate(self, model: str, texts: Sequence[str], target: str, source: str | None, sampling: Sampling) -> list[str]: ...

    @abstractmethod
    def summarize(self, model: str, texts: Sequence[str], sampling: Sampling) -> list[str]: ...

    @abstractmethod
    def embed(self, model: str, texts: Sequence[str], *, long: LongInput) -> NDArray[np.float32]: ...

    @abstractmethod
    def rerank(self, model: str, query: str, documents: Sequence[str], top_n: int | None) -> list[Ranked]: ...

    @abstractmethod
    def score(self, model: str, prompt: str, continuations: Sequence[str]) -> list[Scored]: ...

    @abstractmethod
    def tokenize(self, model: str, text: str) -> list[int]: ...

    @abstractmethod
    def detokenize(self, model: str, ids: Sequence[int]) -> str: ...

    # -- the library -------------------------------------------------------------------------------------------------
    @abstractmethod
    def pull(self, name: str, *, accept_licence: bool, progress: Callable[[Progress], None] | None) -> ModelCard: ...

    @abstractmethod
    def models(self) -> list[ModelCard]: ...

    @abstractmethod
    def show(self, name: str) -> ModelCard: ...

    @abstractmethod
    def remove(self, name: str) -> None: ...

    @abstractmethod
    def set_alias(self, name: str, target: str, reason: str) -> None: ...

    @abstractmethod
    def remove_alias(self, name: str, reason: str) -> None: ...

    @abstractmethod
    def rollback_alias(self, name: str) -> str: ...

    @abstractmethod
    def aliases(self) -> dict[str, str]: ...

    @abstractmethod
    def alias_history(self, name: str) -> list[AliasMove]: ...

    @abstractmethod
    def import_model(self, path: str, name: str | None) -> ModelCard: ...

    @abstractmethod
    def verify(self, name: str) -> list[FileVerdict]: ...

    @abstractmethod
    def gc(self, *, dry_run: bool) -> GcReport: ...

    @abstractmethod
    def loaded(self) -> list[dict[str, Any]]:
        """Models in memory: name, engine, memory_bytes, running, idle_s."""

    @abstractmethod
    def unload(self, name: str) -> None: ...

    # -- the kernel --------------------------------------------------------------------------------------------------
    @property
    @abstractmethod
    def jobs(self) -> JobCalls: ...

    @property
    @abstractmethod
    def annotations(self) -> AnnotationCalls: ...

    @property
    @abstractmethod
    def data(self) -> DataCalls: ...

    @abstractmethod
    def status(self) -> Status: ...

    @abstractmethod
    def close(self) -> None: ...
