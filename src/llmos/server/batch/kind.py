"""Jobs of the kind "batch": an uploaded file of requests, answered in a child process by the engines of the server, or by one of its own.

The folder of the job holds the plan and the log of results (engine/batch/), so an attempt goes on where the one before was killed. What
the view of the job shows (view.py) is its checkpoint: the phase, when each phase began, counts and tokens. A batch that is cancelled,
or whose time is over, still gives the files of what was finished.

This module is imported wherever LLMOS starts: what it needs to run is imported when it runs.
"""

from __future__ import annotations

import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from llmos.errors import Cancelled, Conflict, EngineDied, NotFound
from llmos.infra.uploads import OUTPUT
from llmos.kernel.base import Job, JobKind, kinds
from llmos.kernel.context import Paused, Stopping, job_folder

if TYPE_CHECKING:
    from llmos.engine.batch.base import Counts
    from llmos.engine.batch.finish import Ending, Written
    from llmos.engine.batch.work import Batch
    from llmos.infra.uploads import Uploads
    from llmos.kernel.context import JobContext

MAX_ERRORS = 100


class BatchParams(BaseModel):
    """input_file_id: an uploaded file of batch requests. expires_at: seconds since 1970; what is not answered then is an error line.
    metadata: of the user, kept as it is."""

    model_config = ConfigDict(extra="forbid")

    input_file_id: str = Field(min_length=1, max_length=64)
    endpoint: str = Field(min_length=1, max_length=64)
    completion_window: str = "24h"
    expires_at: float = Field(gt=0)
    output_expires_after_s: float | None = Field(None, ge=3600, le=2_592_000)
    metadata: dict[str, str] | None = Field(None, max_length=16)


@kinds.register("batch")
class BatchKind(JobKind):
    """Answers every request of an uploaded file."""

    params = BatchParams
    checkpoints: ClassVar[bool] = True

    def run(self, params: BatchParams, context: JobContext) -> dict[str, Any]:
        from llmos.engine.batch.base import InvalidBatch, Rules
        from llmos.engine.batch.work import Batch
        from llmos.infra.database import open_database
        from llmos.infra.uploads import Uploads

        told = _Told(context)
        with closing(open_database(context.settings)) as database:
            uploads = Uploads(database, context.settings.home / "files")
            source = uploads.path(params.input_file_id, context.project)
            try:
                batch = Batch(context.folder, source, Rules(endpoint=params.endpoint))
            except InvalidBatch as refused:
                told.refused(refused)
                raise
            with batch:
                return _Attempt(params, context, batch, uploads, told).run()


class _Attempt:
    """One attempt over an open batch."""

    def __init__(self, params: BatchParams, context: JobContext, batch: Batch, uploads: Uploads, told: _Told) -> None:
        self.params, self.context, self.batch, self.uploads, self.told = params, context, batch, uploads, told

    def run(self) -> dict[str, Any]:
        self.told.phase("in_progress", model=self.batch.plan.model)
        self.told.report(self.batch.counts)
        try:
            ending = self._ask()
        except (Paused, Stopping):
            raise
        except Cancelled as problem:
            if self.context.wanted is None:  # not the job: its engine was taken away
                raise EngineDied(problem.message) from None
            self._finish("cancelled")
            raise
        return self._finish(ending)

    def _ask(self) -> Ending:
        from llmos.engine.batch.engines import batch_session
        from llmos.library.library import Library
        from llmos.server.batch.answers import answers_for, feature_of
        from llmos.server.work import refuse_local_path

        settings, batch, endpoint = self.context.settings, self.batch, self.params.endpoint
        if time.time() >= self.params.expires_at:
            return "expired"
        if batch.counts.done == batch.counts.total:
            return "completed"
        library = Library(settings).seen_by(self.context.project)
        seen = library.resolve(refuse_local_path(batch.plan.model))
        exact = batch.plan.model if seen.card.format == "remote" else f"{seen.card.name}:{seen.card.version}"
        source = batch_session(
            settings,
            library,
            exact,
            feature_of(endpoint),
            whose=self.context.id,
            num_shared=batch.plan.num_shared,
            notify=self.context.log,
        )
        with (
            source as (session, shared),
            closing(answers_for(endpoint, session, deadline_s=settings.request_deadline_s)) as answers,
        ):
            return batch.run(answers, self.told, until=self.params.expires_at, shared=shared)

    def _finish(self, ending: Ending) -> dict[str, Any]:
        context = self.context
        self.told.phase("finalizing", ending=ending)
        made, written = give_files(self.batch, ending, self.uploads, context.job)
        for name, file_id in made.items():
            context.artefact(name.removesuffix("_id"), file_id=file_id)
        self.told.report(self.batch.counts)
        self.told.phase(ending, **made, unanswered=written.unanswered)
        return {"status": ending, "completed": written.answers, "failed": written.errors, **made}


def give_files(batch: Batch, ending: Ending, uploads: Uploads, job: Job) -> tuple[dict[str, str], Written]:
    """Makes the files of an open batch that ends so, those that have lines: {"output_file_id", "error_file_id"}. Safe to do again."""
    output, errors = batch.folder.path / "output.jsonl", batch.folder.path / "errors.jsonl"
    written = batch.finish(output, errors, ending)
    made: dict[str, str] = {}
    for what, path, count in (("output", output, written.answers), ("error", errors, written.errors)):
        if count:
            made[f"{what}_file_id"] = file_id = file_of(job.id, what)
            uploads.add(
                path,
                filename=f"{job.id}_{what}.jsonl",
                purpose=OUTPUT,
                project=job.project,
                created_by=job.submitted_by,
                expires_in_s=job.params.get("output_expires_after_s"),
                file_id=file_id,
            )
        path.unlink(missing_ok=True)
    return made, written


def finish_abandoned(home: Path, uploads: Uploads, job: Job) -> None:
    """The files of a batch that was cancelled while no process worked on it: paused, or waiting for its next attempt."""
    from llmos.engine.batch.base import Rules
    from llmos.engine.batch.work import Batch

    folder = job_folder(home, job.id)
    if job.attempt == 0 or not (folder / "plan.sqlite3").exists():
        return
    with suppress(Conflict, NotFound):  # a process is still at it and finishes it itself; the input is gone
        source = uploads.path(job.params["input_file_id"], job.project)
        with Batch(folder, source, Rules(endpoint=job.params["endpoint"])) as batch:
            give_files(batch, "cancelled", uploads, job)


class _Told:
    """The Control of the run: what the job's progress and checkpoint say."""

    def __init__(self, context: JobContext) -> None:
        self.context = context
        self.state: dict[str, Any] = dict(context.checkpoint or {})

    def step(self) -> None:
        self.context.step()

    def report(self, counts: Counts) -> None:
        usage = counts.usage
        failed = f"{counts.failed} failed" if counts.failed else ""
        self.context.progress(counts.done, counts.total, "requests", failed)
        figures = {"total": counts.total, "completed": counts.completed, "failed": counts.failed}
        tokens = {"read": usage.prompt_tokens, "cached": usage.cached_tokens, "written": usage.completion_tokens}
        self._save(counts=figures, tokens=tokens)

    def phase(self, name: str, **facts: Any) -> None:
        """A new phase, with the time it began; one that began before keeps its time."""
        times = {name: int(time.time()), **self.state.get("times", {})}
        self._save(phase=name, times=times, **facts)

    def refused(self, refused: Any) -> None:
        errors = [
            {"code": one.code, "message": one.message, "param": one.param, "line": one.line}
            for one in refused.problems[:MAX_ERRORS]
        ]
        self._save(errors=errors, num_errors=refused.count)

    def _save(self, **changes: Any) -> None:
        state = {**self.state, **changes}
        if state != self.state:
            self.state = state
            self.context.save(state)


def file_of(job_id: str, what: str) -> str:
    """The id of the file that a batch makes: the same for every attempt, so that it is made once."""
    return f"file-{job_id.removeprefix('job_')}-{what[:3]}"
