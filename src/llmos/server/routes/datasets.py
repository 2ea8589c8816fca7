"""/api/v1/datasets: dataset versions of the own project, what happened to their rows, and how two of them differ.

They are made by jobs: POST /api/v1/jobs with the kind "data" and a recipe. A version of another project is a 404, as if it were not there.
polars is imported with the first request.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Path, Query, Request
from starlette.responses import JSONResponse, Response

from llmos.access.base import Caller, Scope
from llmos.errors import InvalidValue
from llmos.infra.uploads import plain_name
from llmos.server.answers import documented
from llmos.server.dataset_answers import (
    DatasetAnswer,
    DatasetDetailAnswer,
    DatasetDiffAnswer,
    DatasetListAnswer,
    DatasetReportAnswer,
    DatasetRowsAnswer,
    DatasetStatisticsAnswer,
    ExportAnswer,
    ExportBody,
    LedgerAnswer,
    LineageAnswer,
    PreviewAnswer,
    RecipeBody,
    StepListAnswer,
    WhyAnswer,
)
from llmos.server.routes.jobs import project_of
from llmos.server.scopes import ScopedRouter, needs
from llmos.server.work import EventStream, blocking, caller_of, state_of

if TYPE_CHECKING:
    from llmos.data.service import DatasetService

router = ScopedRouter(Scope.JOBS, prefix="/api/v1", tags=["Datasets"])

Ref = Annotated[
    str,
    Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}(@[0-9a-f]{1,64})?$", description="name, or name@ and the beginning of a version."),
]
OtherRef = Annotated[str, Query(alias="with", max_length=200, description="The other dataset version.")]
RowId = Annotated[str, Query(min_length=1, max_length=4096, description="Id of a row: mails.jsonl#12.")]
Offset = Annotated[int, Query(ge=0, le=2**53)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Text = Annotated[str | None, Query(max_length=4096)]
MAX_CHECKED_BYTES = 64 << 20


def _service(request: Request) -> DatasetService:
    """As the caller sees them."""
    from llmos.data.service import DatasetService

    state = state_of(request)
    return DatasetService(state.settings, state.database, project_of(caller_of(request)))


async def _answer(call: Callable[[], Any]) -> Response:
    return JSONResponse(await blocking(call))


@router.get("/datasets", response_model=None, responses=documented(DatasetListAnswer), summary="Dataset versions, newest first")
async def list_datasets(request: Request, name: Annotated[str | None, Query(max_length=128)] = None) -> Response:
    return await _answer(lambda: {"datasets": _service(request).list(name)})


@router.get("/datasets/{ref}", response_model=None, responses=documented(DatasetDetailAnswer), summary="One dataset version")
async def show(ref: Ref, request: Request) -> Response:
    def found() -> dict[str, Any]:
        told = _service(request).show(ref)
        del told["path"]  # of the server's disk
        return told

    return await _answer(found)


@router.delete("/datasets/{ref}", response_model=None, responses=documented(DatasetAnswer), summary="Remove a dataset version")
async def remove(ref: Ref, request: Request) -> Response:
    """409 while another one was made of it."""
    return await _answer(lambda: _service(request).remove(ref))


@router.post(
    "/datasets/{ref}/verify", response_model=None, responses=documented(DatasetAnswer), summary="Read all its files and check them"
)
async def verify(ref: Ref, request: Request) -> Response:
    return await _answer(lambda: _service(request).verify(ref))


@router.get("/datasets/{ref}/rows", response_model=None, responses=documented(DatasetRowsAnswer), summary="Rows, by page")
async def rows(ref: Ref, request: Request, *, offset: Offset = 0, limit: Limit = 50, where: Text = None) -> Response:
    """where: an expression over the columns, as in the step of that name: n > 3 and language == 'en'."""
    return await _answer(lambda: _service(request).rows(ref, offset=offset, limit=limit, where=where or ""))


_LINES: dict[int | str, dict[str, Any]] = {
    200: {"description": "All rows, one JSON object a line", "content": {"application/x-ndjson": {}}}
}
_HTML: dict[int | str, dict[str, Any]] = {200: {"description": "A page that needs nothing else", "content": {"text/html": {}}}}


@router.get("/datasets/{ref}/rows.jsonl", response_model=None, responses=_LINES, summary="All rows, as JSON lines")
async def jsonl(ref: Ref, request: Request, ids: bool = True) -> Response:
    service = _service(request)
    await blocking(lambda: service.datasets.get(ref))
    pieces = service.jsonl(ref, ids=ids)
    headers = {"content-disposition": f'attachment; filename="{ref.partition("@")[0]}.jsonl"'}
    return EventStream(_stream(pieces), lambda: None, headers, media_type="application/x-ndjson")


async def _stream(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while data := await blocking(lambda: next(pieces, b"")):
        yield data


@router.get("/datasets/{ref}/ledger", response_model=None, responses=documented(LedgerAnswer), summary="What became of its rows")
async def ledger(
    ref: Ref,
    request: Request,
    *,
    action: Annotated[
        str | None, Query(max_length=32, description="dropped, changed, expanded, grouped, refused or error.")
    ] = None,
    step: Annotated[str | None, Query(max_length=128, description="Name or label of a step.")] = None,
    signal: Annotated[str | None, Query(max_length=256)] = None,
    id: Text = None,
    offset: Offset = 0,
    limit: Limit = 50,
) -> Response:
    given = {"action": action, "step": step, "signal": signal, "id": id}
    wanted = {name: value for name, value in given.items() if value is not None}
    return await _answer(lambda: _service(request).ledger(ref, wanted, offset=offset, limit=limit))


@router.get("/datasets/{ref}/report", response_model=None, responses=documented(DatasetReportAnswer), summary="Its report, as data")
async def report(ref: Ref, request: Request) -> Response:
    return await _answer(lambda: _service(request).report(ref))


@router.get(
    "/datasets/{ref}/statistics", response_model=None, responses=documented(DatasetStatisticsAnswer), summary="What is in it"
)
async def statistics(ref: Ref, request: Request) -> Response:
    """Column by column: lengths, ranges, the most frequent values, repeats. Reads all rows."""
    return await _answer(lambda: _service(request).statistics(ref))


@router.get("/datasets/{ref}/report.html", response_model=None, responses=_HTML, summary="Its report, as a page")
async def report_page(ref: Ref, request: Request) -> Response:
    """Its policy lets its own script run, in an origin of its own, and nothing else."""
    from llmos.data.report import CSP

    text = await blocking(lambda: _service(request).page(ref))
    return Response(text, media_type="text/html; charset=utf-8", headers={"content-security-policy": CSP})


@router.get("/datasets/{ref}/diff", response_model=None, responses=documented(DatasetDiffAnswer), summary="Against another version")
async def diff(ref: Ref, request: Request, other: OtherRef, examples: Annotated[int, Query(ge=0, le=100)] = 5) -> Response:
    return await _answer(lambda: _service(request).diff(ref, other, examples=examples))


@router.get(
    "/datasets/{ref}/lineage", response_model=None, responses=documented(LineageAnswer), summary="Where from, and what of it"
)
async def lineage(ref: Ref, request: Request) -> Response:
    return await _answer(lambda: _service(request).lineage(ref))


@router.post(
    "/datasets/{ref}/export",
    response_model=None,
    responses=documented(ExportAnswer),
    openapi_extra=needs(makes="file"),
    summary="Its rows as a file of another format",
)
async def export(ref: Ref, body: ExportBody, request: Request) -> Response:
    """The file is one of /v1/files then, and counts against the key's disk."""
    state, caller, service = state_of(request), caller_of(request), _service(request)
    return await _answer(lambda: _exported(service, ref, body, state.uploads, caller))


def _exported(service: DatasetService, ref: str, body: ExportBody, uploads: Any, caller: Caller) -> dict[str, Any]:
    from llmos.data.writers.base import Writer
    from llmos.data.writers.export import writer_of

    name = plain_name(body.filename)
    if name in (".", ".."):
        raise InvalidValue(f"{name!r} is no name of a file.", param="filename")
    if not isinstance(writer_of(name, body.format)[0], Writer):
        raise InvalidValue(f"{body.format} is a folder of files; over the network one file is exported.", param="format")
    folder = uploads.place()
    folder.mkdir()
    try:
        told = service.export(ref, str(folder / name), format=body.format, ids=body.ids)
        made = uploads.add(folder / name, filename=name, purpose="user_data", project=caller.project, created_by=caller.key_id)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    del told["path"]
    return {"file_id": made.id, **told}


# -- without a version ---------------------------------------------------------------------------------------------------
@router.get("/data-why", response_model=None, responses=documented(WhyAnswer), summary="Everything that happened to a row")
async def why(row: RowId, request: Request, *, dataset: Text = None, replay: bool = True) -> Response:
    """dataset: not given, the newest version that knows the row. replay: its steps again, where its sources are on the server."""
    return await _answer(lambda: _service(request).why(row, dataset, replay=replay, fetch=False))


@router.get("/data-steps", response_model=None, responses=documented(StepListAnswer), summary="The steps a recipe can have")
async def list_steps(name: Annotated[str | None, Query(max_length=128)] = None) -> Response:
    from llmos.data.service import step_list

    return await _answer(lambda: {"steps": step_list(name)})


@router.post("/recipes/check", response_model=None, responses=documented(PreviewAnswer), summary="A dry run of a recipe")
async def check_recipe(body: RecipeBody, request: Request) -> Response:
    """What it would read, do and cost, with some rows after every step. Steps that ask models are not run, and nothing is downloaded: a
    source that is not on the server yet is an error that says so."""
    return await _answer(lambda: _checked(body, request))


def _checked(body: RecipeBody, request: Request) -> dict[str, Any]:
    from llmos.data.jobs import DataParams, check_fetched, check_stranger, recipe_of, strangers
    from llmos.data.service import DatasetService

    recipe = recipe_of(DataParams(recipe=body.recipe, overrides=body.overrides))
    check_stranger(recipe)
    state = state_of(request)
    check_fetched(recipe, state.settings)
    for name in ("batch_bytes", "max_row_bytes"):  # what this process has in memory at a time; a job asks for its own
        if getattr(recipe.read, name) > MAX_CHECKED_BYTES:
            said = f"read.{name} is {getattr(recipe.read, name):,}; a check reads {MAX_CHECKED_BYTES:,} bytes at most at a time."
            raise InvalidValue(said, param=f"recipe.read.{name}", hint="Check it with less, and run it as a job.")
    service = DatasetService(strangers(state.settings), state.database, project_of(caller_of(request)))
    return service.preview(recipe)
