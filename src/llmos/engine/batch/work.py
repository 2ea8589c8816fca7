"""One batch from input to output, in a folder that a later process can go on from. The thin shell around plan, runner and finish.

with Batch(folder, source, Rules(endpoint="/v1/chat/completions")) as batch:     # raises InvalidBatch
    ending = batch.run(answerer, control)                                        # only what has no result yet
    batch.finish(output, errors, ending)
"""

from __future__ import annotations

import asyncio
import fcntl
from contextlib import ExitStack
from pathlib import Path

from llmos.engine.batch import finish, plan
from llmos.engine.batch.base import WINDOW, Answerer, BatchFolder, Control, Counts, Rules
from llmos.engine.batch.finish import Ending, Written
from llmos.engine.batch.log import ResultLog
from llmos.engine.batch.runner import Runner
from llmos.errors import Conflict, CorruptFile
from llmos.infra.files import make_dir

_ROWS = 10_000


class Batch:
    """Open: the plan is made or found, and what the log knows is read. One process at a time has a folder; it ends with it."""

    def __init__(self, folder: Path, source: Path, rules: Rules) -> None:
        """Raises InvalidBatch, Conflict (another process is at it; begun with other options or another input), StorageError."""
        self.folder = BatchFolder(make_dir(folder))
        self.counts = Counts()
        with ExitStack() as opened:
            lock = opened.enter_context((folder / "lock").open("ab"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"Another process works on this batch ({folder}).") from None
            self.plan = self._plan(source, rules)
            opened.callback(self.plan.close)
            self.log = ResultLog(self.folder.log)
            opened.callback(self.log.close)
            self._read_log()
            self._opened = opened.pop_all()

    def _plan(self, source: Path, rules: Rules) -> plan.Plan:
        """The plan that is there, or a new one; also in place of one that does not fit as long as nothing was answered by it."""
        path = self.folder.plan
        if path.exists():
            try:
                found = plan.Plan(path, source)
                if found.rules == rules:
                    return found
                found.close()
                raise Conflict(
                    f"The batch in {path.parent} was begun with other options: {found.rules}.", hint="Begin anew (--restart)."
                )
            except (Conflict, CorruptFile):
                if self.folder.log.exists() and self.folder.log.stat().st_size:
                    raise
        plan.make(source, path, rules)
        return plan.Plan(path, source)

    def run(
        self,
        answerer: Answerer,
        control: Control,
        *,
        window: int = WINDOW,
        until: float | None = None,
        shared: bool = True,
    ) -> Ending:
        """Asks everything that has no result. until and shared: as in Runner. Raises what the Control
        raises, StorageError, ServiceGone; what was finished by then is in the log."""

        async def work() -> Ending:
            runner = Runner(self.plan, self.log, self.counts, answerer, control, window=window, until=until, shared=shared)
            return await runner.run()

        return asyncio.run(work())

    def finish(self, output: Path, errors: Path, ending: Ending = "completed") -> Written:
        """Writes both files in the order of the input; safe to do again."""
        self._read_log()
        return finish.write(self.plan, self.folder, output, errors, ending)

    def _read_log(self) -> None:
        self.plan.forget_done()
        self.log.end = 0
        self.counts = Counts(total=self.plan.total, new=self.counts.new)
        rows: list[tuple[int, int, int, int]] = []
        for entry in self.log.recover():
            rows.append((entry.number, entry.ok, entry.offset, entry.length))
            self.counts.add(entry.ok, entry.usage)
            if len(rows) >= _ROWS:
                self.plan.note_done(rows)
                rows.clear()
        self.plan.note_done(rows)

    def close(self) -> None:
        self._opened.close()

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
