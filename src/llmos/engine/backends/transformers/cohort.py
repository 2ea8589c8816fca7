"""The contract between the step loop and a kind of model: rows that move together, and how requests become rows.

waiting jobs --Starter.start--> Cohort + first logits --step, step, …--> logits      one forward pass a step, one token a row
                                ^ absorb(other): two cohorts become one, where the model's positions allow it
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Hashable, Sequence
from typing import Any

from torch import Tensor

from llmos.engine.backends.transformers.rows import Job, Row
from llmos.engine.base import Adapter


class Cohort(ABC):
    rows: list[Row]
    adapter: Adapter | None = None

    @abstractmethod
    def step(self) -> Tensor:
        """Feeds each row's newest token. Returns logits [B, V] in the order of `rows`."""

    @abstractmethod
    def select(self, keep: Sequence[int]) -> None:
        """Keeps these rows and frees the memory of the others."""

    @abstractmethod
    def absorb(self, other: Cohort) -> bool:
        """Takes over the rows of `other` (same adapter) if it can; then `other` is not to be used any more."""


Started = tuple[Cohort, Tensor]  # and the logits [B, V] of each row's first token


class Starter(ABC):
    model: Any

    @abstractmethod
    def key(self, job: Job) -> Hashable:
        """Waiting jobs of one key may start together."""

    @abstractmethod
    def start(self, jobs: Sequence[Job], rows: list[Row]) -> Generator[None, None, Started]:
        """Reads the prompts, giving way (yield) between pieces so that others can step. rows: n for each job, in order."""

    @abstractmethod
    def num_tokens(self, job: Job) -> int:
        """Columns of cache a row of this job needs at its end."""
