"""Jobs of the kind "data": a recipe, run by the kernel. What comes out is a dataset version of the job's project.

    POST /api/v1/jobs {"kind": "data", "params": {"recipe": {"name": "mails", "sources": [{"file": "file-…"}], "process": […]}}}

A killed attempt is followed by one that computes what is missing; parts are found by what they are made of, so there is no checkpoint. A
recipe that comes over the network reads and writes nothing of this machine's disk: its sources are dataset versions, uploaded files, rows
and public URLs. This module is imported wherever LLMOS starts: what it needs to run (polars among it) is imported when it runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from llmos.errors import InvalidValue
from llmos.kernel.base import JobKind, Resources, kinds

if TYPE_CHECKING:
    from llmos.data.recipe import Recipe, StepCall
    from llmos.data.run import Reach
    from llmos.kernel.context import JobContext
    from llmos.settings import Settings

BASE_BYTES = 2 << 30  # of memory: polars, and what a decision over all rows holds
BATCHES = 24  # that a worker holds at most: texts, words, hashes and signals of one
OWN_NAMES = ("hf_endpoint", "modelscope_endpoint", "pypi_index", "npm_registry", "openai_base_url")


class DataParams(BaseModel):
    """recipe: sources, process and the rest, as in a recipe file. overrides: `key=value`, as on the command line."""

    model_config = ConfigDict(extra="forbid")

    recipe: dict[str, Any] = Field(description="As in a recipe file.")
    overrides: list[str] = Field(default_factory=list, max_length=200, description="key=value, as on the command line.")


@kinds.register("data")
class DataKind(JobKind):
    """Runs a data recipe and publishes the dataset version that comes out."""

    params = DataParams

    def resources(self, params: Any) -> Resources:
        recipe = recipe_of(params)
        cores = min(recipe.workers or _machine(), _machine())
        memory = 0 if _asks_models(recipe) else BASE_BYTES + cores * BATCHES * recipe.read.batch_bytes
        return Resources(cores=cores, memory_bytes=memory)

    def check_remote(self, params: Any) -> None:
        check_stranger(recipe_of(params))

    def run(self, params: DataParams, context: JobContext) -> dict[str, Any]:
        from llmos.data.models import LibraryModels
        from llmos.data.run import Run
        from llmos.data.store import Datasets
        from llmos.infra.database import open_database
        from llmos.library.library import Library

        own = context.job.submitted_by in ("", "env")  # the machine's own user
        settings = context.settings if own else strangers(context.settings)
        recipe = recipe_of(params)
        cores = context.settings.num_threads or _machine()
        recipe = recipe.model_copy(update={"workers": min(recipe.workers or cores, cores)})
        for notice in recipe.notices:
            context.log(notice)
        if not own:
            bring_public(recipe, context.settings)
        with ExitStack() as opened:
            database = opened.enter_context(closing(open_database(settings)))
            datasets = Datasets(settings, database, None if own else context.project)
            models = None
            if _asks_models(recipe):
                library = Library.open(context.settings) if own else Library(context.settings).seen_by(context.project)
                asking = _Asking(context)
                models = LibraryModels(context.settings, library, whose=context.id, control=asking, notify=context.log)
                opened.enter_context(models)
            run = Run(recipe=recipe, datasets=datasets, control=_Told(context), models=models, job_id=context.id)
            version = run.execute()
        context.artefact("dataset", dataset=version.ref)
        return {"dataset": version.ref, "rows": version.num_rows, "bytes": version.size_bytes, "errors": run.tally.errors}


class _Told:
    """The Control of the run: the job's progress."""

    def __init__(self, context: JobContext) -> None:
        self.context = context

    def step(self) -> None:
        self.context.step()

    def report(self, reach: Reach) -> None:
        within = reach.done_bytes / reach.total_bytes if reach.total_bytes else 1.0
        done = 100 * (reach.stage - 1 + within) / reach.num_stages
        parts = f"part {reach.parts} of {reach.num_parts}, {reach.rows:,} rows"
        self.context.progress(round(done, 2), 100, "%", f"stage {reach.stage} of {reach.num_stages} ({reach.doing}): {parts}")


class _Asking:
    """The Control of what models are asked: it may end the job, and tells nothing of its own."""

    def __init__(self, context: JobContext) -> None:
        self.context = context

    def step(self) -> None:
        self.context.step()

    def report(self, counts: Any) -> None:
        """The parts say how far the run is."""


def recipe_of(params: DataParams) -> Recipe:
    """Raises InvalidValue that names the field, NotFound for a step that does not exist."""
    from llmos.data.base import steps
    from llmos.data.builtins import load
    from llmos.data.recipe import Recipe

    load()
    recipe = Recipe.build(params.recipe, params.overrides, where="params.recipe")
    for call in recipe.process:
        steps.get(call.step)
    return recipe


def _machine() -> int:
    return len(os.sched_getaffinity(0))


def _asks_models(recipe: Recipe) -> bool:
    from llmos.data.base import steps

    return any(steps.get(call.step).needs_model for call in recipe.process)


# -- recipes of strangers ------------------------------------------------------------------------------------------------
def strangers(settings: Settings) -> Settings:
    """Without the origins that this machine's user trusts: URLs of strangers reach public addresses only."""
    return settings.model_copy(update={name: type(settings).model_fields[name].default for name in OWN_NAMES})


def check_stranger(recipe: Recipe) -> None:
    """Raises InvalidValue when the recipe would read or write this machine's disk, or a store with its credentials."""
    for where, source in _sources(recipe):
        _check_source(source, where)
    if recipe.sinks:
        raise InvalidValue(
            "A server writes no files of its disk for a client.",
            param="params.recipe.sinks",
            hint="The result is a dataset version: export it.",
        )
    for place, call in enumerate(recipe.process):
        _check_call(call, f"process.{place}.{call.step}")


def check_fetched(recipe: Recipe, settings: Settings) -> None:
    """Raises InvalidValue for a source that would have to be brought from elsewhere: a job may wait for that, a request may not."""
    from llmos.data.catalogue import PREFIX, entry
    from llmos.infra.address import shown

    for where, source in _sources(recipe):
        path, url = str(source.get("path") or ""), str(source.get("url") or "")
        if path.startswith(PREFIX) and not (found := entry(path.removeprefix(PREFIX))).place(settings).is_dir():
            raise InvalidValue(
                f"The public data {found.name!r} ({found.size_bytes:,} bytes) is not here yet, and this downloads nothing.",
                param=f"recipe.{where}.path",
                hint=f"Run the recipe as a job, which brings it, or `llmos data get {found.name}` on that machine.",
            )
        if url or path.startswith("s3://"):
            raise InvalidValue(
                f"{shown(url) if url else path} is not looked into, as this downloads nothing.",
                param=f"recipe.{where}.{'url' if url else 'path'}",
                hint="Run the recipe as a job; or upload the file (POST /v1/files) and give `file: <its id>`.",
            )


def bring_public(recipe: Recipe, settings: Settings) -> None:
    """Public data that the recipe names, from the indexes and mirrors of this machine, also for a stranger, whose own URLs may not go
    there: what comes is what the hashes of the catalogue say. Raises what fetching raises."""
    from llmos.data.catalogue import PREFIX, get

    for _, source in _sources(recipe):
        path = str(source.get("path") or "")
        if path.startswith(PREFIX):
            get(path.removeprefix(PREFIX), settings)


def _sources(recipe: Recipe) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where they stand, and the sources of a recipe, those that its steps compare with among them."""
    for number, source in enumerate(recipe.sources):
        yield f"sources.{number}", source.model_dump()
    for place, call in enumerate(recipe.process):
        for value in call.params.values():
            listed = value if isinstance(value, list | tuple) else [value]
            yield from ((f"process.{place}.{call.step}", one) for one in listed if isinstance(one, dict))


def _check_source(source: dict[str, Any], where: str) -> None:
    if source.get("path") is not None and not str(source["path"]).startswith("get:"):
        raise InvalidValue(
            "A server reads no files of its disk for a client.",
            param=f"params.recipe.{where}.path",
            hint="Upload it (POST /v1/files) and give `file: <its id>`, or give url, dataset, rows or `path: get:NAME`.",
        )
    url = source.get("url")
    if url is not None and not str(url).lower().startswith(("https://", "http://")):
        raise InvalidValue("A url is one of https.", param=f"params.recipe.{where}.url")


def _check_call(call: StepCall, where: str) -> None:
    """Parameters that name a place on the disk, and models that lie there."""
    from llmos.data.base import steps

    cls = steps.get(call.step)
    for name in cls.disk:
        value = call.params.get(name)
        if value and not (name == "tokenizer" and _of_library(value)):
            raise InvalidValue(
                f"{name} of {call.step} would read the server's disk.", param=f"params.recipe.{where}.{name}",
                hint="Use a model of the library." if name == "tokenizer" else "Run it on that machine.",
            )  # fmt: skip
    for name in cls.models:
        if call.params.get(name) and not _of_library(call.params[name]):
            raise InvalidValue(
                f"The model name {call.params[name]!r} points into the server's disk.", param=f"params.recipe.{where}.{name}"
            )


def _of_library(name: Any) -> bool:
    from pathlib import Path

    from llmos.library.names import parse

    return isinstance(name, str) and Path(name).name != "tokenizer.json" and not parse(name).is_local_disk
