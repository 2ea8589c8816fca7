"""The job kinds of the library: bringing a model from a hub (`pull`), and from this machine's own disk (`import`).

What was downloaded before an interruption is kept by the library itself, so neither needs a checkpoint: the next attempt fetches
only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, Field

from llmos.errors import InvalidValue
from llmos.kernel.base import JobKind, kinds
from llmos.kernel.context import JobContext
from llmos.library.base import ModelCard, Progress
from llmos.library.library import Library
from llmos.library.names import parse


class PullParams(BaseModel):
    """model: any name that `llmos pull` takes."""

    model: str = Field(min_length=1, max_length=512, description="Name of the model, as for `llmos pull`.")
    accept_licence: bool = Field(False, description="You have read and accept the model's terms.")


class ImportParams(BaseModel):
    """A place on the disk of the machine that runs the job. Who submits it for others must check that they may read it."""

    path: str = Field(min_length=1, max_length=4096, description="File or folder of the model.")
    name: str | None = Field(None, max_length=255, description="Name it gets; not set: that of the file.")


@kinds.register("pull")
class Pull(JobKind):
    """Downloads a model, or what is missing of it."""

    params = PullParams
    scope = "library"

    def check_remote(self, params: Any) -> None:
        assert isinstance(params, PullParams)
        _no_disk(params)

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        assert isinstance(params, PullParams)
        _no_disk(params)
        library = _library(context)
        context.step()
        card = library.pull(
            params.model, progress=_reporter(context), accept_licence=params.accept_licence, cancel=context.interrupted
        )
        return _result(card, context)


@kinds.register("import")
class Import(JobKind):
    """Takes a model from the disk of this machine into its library."""

    params = ImportParams
    scope = "library"

    def check_remote(self, params: Any) -> None:
        assert isinstance(params, ImportParams)
        raise InvalidValue(
            "A server imports no files of its disk for a client.",
            param="params.path",
            hint="Submit it on that machine: llmos jobs submit import path=…",
        )

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        assert isinstance(params, ImportParams)
        library = _library(context)
        context.step()
        card = library.import_path(params.path, name=params.name, progress=_reporter(context), cancel=context.interrupted)
        return _result(card, context)


def _no_disk(params: PullParams) -> None:
    if parse(params.model).is_local_disk:
        raise InvalidValue(
            f"{params.model} is a place on this machine's disk.", param="params.model", hint="Submit a job of kind import."
        )


def _library(context: JobContext) -> Library:
    """As its submitter sees it: the local user everything, a key what its project may; what it brings belongs to that."""
    if context.job.submitted_by in ("", "env"):
        return Library.open(context.settings)
    return Library(context.settings).seen_by(context.project)


def _reporter(context: JobContext) -> Callable[[Progress], None]:
    def report(told: Progress) -> None:
        total = float(told.total_bytes) if told.total_bytes else None
        context.progress(float(told.done_bytes), total, "bytes", told.message or told.stage)

    return report


def _result(card: ModelCard, context: JobContext) -> dict[str, Any]:
    context.artefact("model", model=card.ref, version=card.version)
    return {
        "model": card.ref,
        "name": card.name,
        "version": card.version,
        "size_bytes": sum(file.size_bytes for file in card.files),
    }
