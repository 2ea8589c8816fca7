"""The models of a run: loaded once, borrowed from the server of this home when one runs, and asked with all answers kept.

    with LibraryModels(settings, library, control=control) as models:
        Run(recipe=recipe, datasets=datasets, models=models, control=control).execute()

It is the same in a process of its own (SDK, CLI) and in the process of a job, which gives its id and the library as its project sees it:
engines are those of the server, so that one budget of memory and cores holds for all, else one of this run's own in a process beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from llmos.data.recipe import digest_of
from llmos.data.synth.asked import Asked
from llmos.engine.batch.base import Control
from llmos.engine.borrow import Lender, borrow
from llmos.engine.pool import ModelSource, Pool
from llmos.engine.session import Session
from llmos.kernel.base import Priority
from llmos.library.base import Progress, Resolved
from llmos.settings import Settings


class LibraryModels:
    """The Models of data/base.py. Close it. Not thread-safe."""

    def __init__(
        self,
        settings: Settings,
        library: ModelSource,
        *,
        pool: Pool | None = None,
        whose: str = "",
        pull: Callable[[Progress], None] | None = None,
        control: Control | None = None,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        """pool: of the caller, who closes it; then nothing is borrowed. whose: the job, for the server's books. pull: told how a model
        that is missing is pulled, None: it is not. control: told of the questions; its `step` may end the run."""
        self.settings, self.library, self.whose, self.pull = settings, library, whose, pull
        self.control, self.notify = control, notify
        self._pool = pool
        self._lender: Lender | None = None
        self._sessions: dict[str, Session] = {}
        self._asked: dict[str, Asked] = {}
        self._opened = ExitStack()

    def exact(self, name: str) -> str:
        card = self._resolve(name).card
        return name if card.format == "remote" else f"{card.name}:{card.version}"

    def session(self, name: str) -> Session:
        if name not in self._sessions:
            self._resolve(name)  # pulls it where that is wanted
            session = self._engines().session(name, keep_alive_s=-1, load=False, pull=False, shared_by="")
            self._sessions[name] = self._lender.session(session) if self._lender is not None else session
            self._sessions[name].priority = Priority.BATCH
        return self._sessions[name]

    def asked(self, session: Session, how: str) -> Asked:
        card = session.card
        key = digest_of([card.name if card.format == "remote" else card.version, how])
        if key not in self._asked:
            folder = self.settings.home / "datasets" / ".asked" / key
            self._asked[key] = opened = Asked(folder, control=self.control)
            self._opened.callback(opened.close)
        return self._asked[key]

    def close(self) -> None:
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _resolve(self, name: str) -> Resolved:
        return self.library.ensure(name, progress=self.pull) if self.pull is not None else self.library.resolve(name)

    def _engines(self) -> Pool:
        """An engine never runs in the process that reads and writes the rows: see engine/batch/engines.py."""
        if self._pool is None:
            self._pool = self._opened.enter_context(Pool(self.settings, self.library, inline=False, notify=self.notify))
            self._lender = borrow(self.settings.run_folder, whose=self.whose, shares=True)
            if self._lender is not None:
                self._opened.enter_context(self._lender)
                self.notify("Using the engines of the server that runs.")
        return self._pool
