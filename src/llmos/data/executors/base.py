"""The contract of an executor: it carries tasks to where they are computed and brings back what came of them.

It knows nothing of steps or rows. Whichever carries a task, the same bytes come out: `run_part` is a pure function of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from llmos.data.work import Part, PartTask
from llmos.registry import Registry
from llmos.settings import Settings


class Executor(ABC):
    """Used once, as a context manager. workers: parts computed at a time."""

    name: ClassVar[str]

    def __init__(self, workers: int, settings: Settings) -> None:
        self.workers = workers
        self.settings = settings

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - inline has nothing to give back
        """Ends what is in flight; its parts are not there."""

    @abstractmethod
    def run(self, tasks: Sequence[PartTask], step: Callable[[], None]) -> Iterator[tuple[int, Part]]:
        """(place of the task, its part) in the order they are done. step: called several times a second; raises to end the run.
        Errors of a task are raised here."""


executors: Registry[type[Executor]] = Registry("executor")
