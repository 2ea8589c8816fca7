"""How an engine takes its turns with the cores: as urgently as the most urgent request it has.

While it has interactive requests it says so, and everything else on the machine stands back; with batch requests alone it stands
back itself. An engine that nobody shares the machine with loses a few microseconds a step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path

from llmos.engine.base import Request
from llmos.kernel.base import Priority
from llmos.kernel.compute import Compute, never

_CALLED_AS: ContextVar[str] = ContextVar("priority of blocking calls", default=Priority.INTERACTIVE)


@contextmanager
def calling(priority: str) -> Iterator[None]:
    """The blocking calls of engines that this thread makes inside are of that priority."""
    before = _CALLED_AS.set(priority)
    try:
        yield
    finally:
        _CALLED_AS.reset(before)


def called_as() -> str:
    return _CALLED_AS.get()


def most_urgent(priorities: Collection[str]) -> Priority:
    return next((one for one in Priority if one in priorities), Priority.INTERACTIVE)


class Turns:
    """One engine's. `step` and `rest` belong to the thread that steps it; `call` to any. folder: LoadOptions.run_folder."""

    def __init__(self, folder: Path | None) -> None:
        self._compute = Compute(folder)
        self._serving = ExitStack()
        self._interactive = False

    @contextmanager
    def step(self, requests: Iterable[Request], stop: Callable[[], bool] = never) -> Iterator[None]:
        """The cores, for one step of all these requests. `stop` ends the wait of a step that stands back: something new is there."""
        urgent = most_urgent({request.priority for request in requests})
        self._say(urgent is Priority.INTERACTIVE)
        with self._compute.step(urgent, stop=stop):
            yield

    def rest(self) -> None:
        """The engine has nothing to do."""
        self._say(False)

    @contextmanager
    def call(self, priority: str | None = None, stop: Callable[[], bool] = never) -> Iterator[None]:
        """The cores, for one piece of a blocking call: scoring, embedding and the like. priority: of its caller, where another thread
        than the caller's works on it. `stop` as for `step`."""
        priority = priority or called_as()
        if priority == Priority.INTERACTIVE:
            with self._compute.serving(), self._compute.step():
                yield
        else:
            with self._compute.step(priority, stop=stop):
                yield

    def close(self) -> None:
        """After the last step."""
        self.rest()
        self._compute.close()

    def _say(self, interactive: bool) -> None:
        if interactive != self._interactive:
            self._interactive = interactive
            if interactive:
                self._serving.enter_context(self._compute.serving())
            else:
                self._serving.close()
