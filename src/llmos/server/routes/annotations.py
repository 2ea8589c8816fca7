"""/api/v1/annotations: projects in which people label items. A save is on disk, with its history, before its answer leaves.

A key with the scope `annotate` labels items of its project and sees its own annotations; making projects, importing, reviewing and
exporting needs `jobs`. Who annotates is the key; the machine's own user and admins may say another name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from fastapi import Path, Query, Request
from starlette.responses import JSONResponse, Response

from llmos.access.base import Caller, Scope
from llmos.data.annotate.base import ItemState, Saved
from llmos.data.annotate.exchange.export import FORMATS, MEDIA_TYPES, SUFFIXES
from llmos.data.annotate.service import Annotations, format_of
from llmos.data.annotate.tasks import tasks
from llmos.errors import NotAllowed
from llmos.server.annotation_answers import (
    AgreementAnswer,
    AnnotationListAnswer,
    AnnotationProgressAnswer,
    AnnotationProjectAnswer,
    AnnotationRemovedAnswer,
    AnnotationTaskListAnswer,
    AssignedAnswer,
    AssignedListAnswer,
    HistoryListAnswer,
    ImportAnswer,
    ItemAnswer,
    ItemListAnswer,
    LabelErrorsAnswer,
    SavedAnswer,
)
from llmos.server.annotation_bodies import (
    AdjudicateBody,
    CreateBody,
    ErrorsBody,
    ImportBody,
    NextBody,
    SaveBody,
    SkipBody,
    UpdateBody,
)
from llmos.server.answers import documented
from llmos.server.routes.jobs import project_of
from llmos.server.scopes import ScopedRouter, needs
from llmos.server.work import EventStream, blocking, caller_of, state_of

router = ScopedRouter(Scope.ANNOTATE, prefix="/api/v1/annotations", tags=["Annotations"])
MANAGE = needs(Scope.JOBS)

Ref = Annotated[str, Path(max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$", description="Id or name of the annotation project.")]
Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="Number of the item.")]
After = Annotated[int, Query(ge=0, le=2**31 - 1, description="`after` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=500)]
PIECE_CHARS = 1 << 16


def _of(request: Request) -> Annotations:
    """One for the app: it remembers where each annotator is."""
    app = request.app
    if not hasattr(app.state, "annotations"):
        app.state.annotations = Annotations(state_of(request).database)
    found: Annotations = app.state.annotations
    return found


def own_name(caller: Caller) -> str:
    """Under which a caller annotates: the id of the first key of its account."""
    return caller.account or caller.actor


def _names_others(caller: Caller) -> bool:
    return not caller.key_id or caller.everywhere


def _annotator(request: Request, asked: str | None) -> str:
    caller = caller_of(request)
    if asked is None or asked == own_name(caller):
        return own_name(caller)
    if not _names_others(caller):
        raise NotAllowed(f"This key annotates as {own_name(caller)!r}, not as {asked!r}.", param="annotator", hint="Leave it out.")
    return asked


async def _answer(request: Request, call: Callable[[Annotations, str | None], Any]) -> Response:
    """What `call` gives for the annotations of the app and the project of the caller, None: of all."""
    notes, project = _of(request), project_of(caller_of(request))
    return JSONResponse(msgspec.to_builtins(await blocking(lambda: call(notes, project))))


def _page(name: str, found: Sequence[Any], limit: int, number: str) -> dict[str, Any]:
    """after: for the next page, None when this was the last. number: the field that pages go by."""
    return {name: found, "after": getattr(found[-1], number) if len(found) == limit else None}


# -- projects ------------------------------------------------------------------------------------------------------------
@router.get("", response_model=None, responses=documented(AnnotationListAnswer), summary="Annotation projects, newest first")
async def list_projects(request: Request) -> Response:
    caller = caller_of(request)
    who = {"annotator": own_name(caller), "names_others": _names_others(caller), "manages": caller.may(Scope.JOBS)}
    return await _answer(request, lambda notes, project: {"annotations": notes.projects.list(project), **who})


@router.post(
    "",
    response_model=None,
    responses=documented(AnnotationProjectAnswer),
    openapi_extra=MANAGE,
    summary="Make an annotation project",
)
async def create(body: CreateBody, request: Request) -> Response:
    caller = caller_of(request)
    facts = {"project": caller.project, "created_by": own_name(caller)}
    return await _answer(request, lambda notes, _: notes.create(body.name, body.task, body.config, **facts))


@router.get("/tasks", response_model=None, responses=documented(AnnotationTaskListAnswer), summary="What can be annotated, and how")
async def list_tasks(request: Request) -> Response:
    def told(name: str) -> dict[str, Any]:
        task = tasks.get(name)
        schemas = {"item": task.Item, "value": task.Value, "options": task.Options}
        facts = {"task": name, "about": task.about, "needs_labels": task.needs_labels}
        return facts | {what: model.model_json_schema() for what, model in schemas.items()}

    return JSONResponse({"tasks": [told(name) for name in tasks.names()]})


@router.get("/{id}", response_model=None, responses=documented(AnnotationProjectAnswer), summary="One annotation project")
async def show(id: Ref, request: Request) -> Response:
    return await _answer(request, lambda notes, project: notes.get(id, project))


@router.patch(
    "/{id}", response_model=None, responses=documented(AnnotationProjectAnswer), openapi_extra=MANAGE, summary="Change a project"
)
async def update(id: Ref, body: UpdateBody, request: Request) -> Response:
    return await _answer(
        request,
        lambda notes, project: notes.projects.update(id, body.config, project=project, name=body.name, version=body.version),
    )


@router.delete(
    "/{id}",
    response_model=None,
    responses=documented(AnnotationRemovedAnswer),
    openapi_extra=MANAGE,
    summary="Remove a project with all that was annotated",
)
async def remove(id: Ref, request: Request) -> Response:
    return await _answer(request, lambda notes, project: {"removed": notes.projects.remove(id, project).id})


# -- items ---------------------------------------------------------------------------------------------------------------
@router.post("/{id}/items", response_model=None, responses=documented(ImportAnswer), openapi_extra=MANAGE, summary="Import items")
async def add_items(id: Ref, body: ImportBody, request: Request) -> Response:
    """Rows that are wrong are told with their numbers; the others come in."""
    uploads = state_of(request).uploads

    def add(notes: Annotations, project: str | None) -> Any:
        if body.file_id is None:
            return notes.add(id, body.items or [], columns=body.columns, project=project)
        format = body.format or format_of(uploads.get(body.file_id, project).filename)
        path = uploads.path(body.file_id, project)
        return notes.add_file(id, path, format, columns=body.columns, annotator=body.annotator, project=project)

    return await _answer(request, add)


@router.get(
    "/{id}/items",
    response_model=None,
    responses=documented(ItemListAnswer),
    openapi_extra=MANAGE,
    summary="Items with all that was said of them",
)
async def list_items(
    id: Ref,
    request: Request,
    *,
    state: ItemState | None = None,
    differs: Annotated[bool | None, Query(description="Only items on which annotators differ, or do not.")] = None,
    after: After = 0,
    limit: Limit = 50,
) -> Response:
    wanted: dict[str, Any] = {"state": state, "differs": differs, "after": after, "limit": limit}
    return await _answer(
        request, lambda notes, project: _page("items", notes.list_items(id, **wanted, project=project), limit, "item")
    )


@router.get(
    "/{id}/items/{item}/review",
    response_model=None,
    responses=documented(ItemAnswer),
    openapi_extra=MANAGE,
    summary="One item, whole",
)
async def show_item(id: Ref, item: Number, request: Request) -> Response:
    return await _answer(request, lambda notes, project: notes.item(id, item, project=project))


# -- work ----------------------------------------------------------------------------------------------------------------
@router.post("/{id}/next", response_model=None, responses=documented(AssignedListAnswer), summary="Reserve the next items")
async def next_items(id: Ref, body: NextBody, request: Request) -> Response:
    """None when nothing is left to do."""
    annotator = _annotator(request, body.annotator)
    return await _answer(request, lambda notes, project: {"items": notes.next(id, annotator, body.count, project=project)})


@router.get(
    "/{id}/items/{item}", response_model=None, responses=documented(AssignedAnswer), summary="One item, as its annotator sees it"
)
async def own(
    id: Ref, item: Number, request: Request, annotator: Annotated[str | None, Query(min_length=1, max_length=128)] = None
) -> Response:
    name = _annotator(request, annotator)
    return await _answer(request, lambda notes, project: notes.own(id, item, name, project=project))


@router.put("/{id}/items/{item}/annotation", response_model=None, responses=documented(SavedAnswer), summary="Save an annotation")
async def save(id: Ref, item: Number, body: SaveBody, request: Request) -> Response:
    """409 when it was saved elsewhere meanwhile; the same save a second time is answered as the first."""
    annotator = _annotator(request, body.annotator)

    def say(notes: Annotations, project: str | None) -> Saved:
        saved = notes.save(id, item, annotator, body.value, version=body.version, seconds=body.seconds, project=project)
        return _and_next(notes, saved, id, annotator, body.next, project)

    return await _answer(request, say)


@router.post("/{id}/items/{item}/skip", response_model=None, responses=documented(SavedAnswer), summary="Leave an item to others")
async def skip(id: Ref, item: Number, body: SkipBody, request: Request) -> Response:
    annotator = _annotator(request, body.annotator)

    def say(notes: Annotations, project: str | None) -> Saved:
        saved = notes.skip(id, item, annotator, body.reason, version=body.version, seconds=body.seconds, project=project)
        return _and_next(notes, saved, id, annotator, body.next, project)

    return await _answer(request, say)


def _and_next(notes: Annotations, saved: Saved, *where: Any) -> Saved:
    """With the items that come next, when they were asked for: one way less for who annotates."""
    ref, annotator, count, project = where
    return replace(saved, next=notes.next(ref, annotator, count, project=project)) if count else saved


@router.post("/{id}/undo", response_model=None, responses=documented(AssignedListAnswer), summary="Take the own last saves back")
async def undo(id: Ref, body: NextBody, request: Request) -> Response:
    annotator = _annotator(request, body.annotator)
    return await _answer(request, lambda notes, project: {"items": notes.undo(id, annotator, body.count, project=project)})


@router.put(
    "/{id}/items/{item}/adjudication", response_model=None, responses=documented(ItemAnswer), openapi_extra=MANAGE, summary="Decide"
)
async def adjudicate(id: Ref, item: Number, body: AdjudicateBody, request: Request) -> Response:
    """What the annotators said stays beside the decision."""
    reviewer = _annotator(request, body.annotator)
    return await _answer(
        request, lambda notes, project: notes.adjudicate(id, item, reviewer, body.value, note=body.note, project=project)
    )


@router.delete(
    "/{id}/items/{item}/adjudication",
    response_model=None,
    responses=documented(ItemAnswer),
    openapi_extra=MANAGE,
    summary="Take a decision back",
)
async def withdraw(
    id: Ref, item: Number, request: Request, annotator: Annotated[str | None, Query(min_length=1, max_length=128)] = None
) -> Response:
    reviewer = _annotator(request, annotator)
    return await _answer(request, lambda notes, project: notes.adjudicate(id, item, reviewer, None, project=project))


# -- figures and export --------------------------------------------------------------------------------------------------
@router.get("/{id}/progress", response_model=None, responses=documented(AnnotationProgressAnswer), summary="How far it is")
async def progress(id: Ref, request: Request) -> Response:
    return await _answer(request, lambda notes, project: notes.progress(id, project=project))


@router.get(
    "/{id}/agreement",
    response_model=None,
    responses=documented(AgreementAnswer),
    openapi_extra=MANAGE,
    summary="How far they agree",
)
async def agreement(id: Ref, request: Request) -> Response:
    return await _answer(request, lambda notes, project: notes.agreement(id, project=project))


@router.get(
    "/{id}/history",
    response_model=None,
    responses=documented(HistoryListAnswer),
    openapi_extra=MANAGE,
    summary="Who said what when",
)
async def history(
    id: Ref,
    request: Request,
    *,
    item: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    after: After = 0,
    limit: Limit = 100,
) -> Response:
    wanted: dict[str, Any] = {"item": item, "after": after, "limit": limit}
    return await _answer(
        request, lambda notes, project: _page("history", notes.history(id, **wanted, project=project), limit, "number")
    )


@router.post(
    "/{id}/label-errors",
    response_model=None,
    responses=documented(LabelErrorsAnswer),
    openapi_extra=MANAGE,
    summary="Labels that are probably wrong, by confident learning",
)
async def label_errors(id: Ref, body: ErrorsBody, request: Request) -> Response:
    return await _answer(request, lambda notes, project: notes.label_errors(id, body.probabilities, project=project))


_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The rows, one JSON object a line; label-studio: one JSON list; conll, label-studio-config: text",
        "content": {"application/x-ndjson": {}},
    }
}


@router.get("/{id}/export", response_model=None, responses=_EXPORT, openapi_extra=MANAGE, summary="The annotations as a file")
async def export(
    id: Ref,
    request: Request,
    format: Annotated[str, Query(max_length=32, description=", ".join(FORMATS))] = ("annotations"),
) -> Response:
    notes, project = _of(request), project_of(caller_of(request))
    pieces = await blocking(lambda: notes.text(id, format, project=project))
    name = f"{id}.{SUFFIXES.get(format, 'jsonl')}" if id.isascii() and id.replace("_", "").isalnum() else "annotations"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return EventStream(_stream(pieces), lambda: None, headers, media_type=MEDIA_TYPES.get(format, "application/x-ndjson"))


async def _stream(pieces: Iterator[str]) -> AsyncIterator[bytes]:
    def some() -> bytes:
        found, size = [], 0
        for piece in pieces:
            found.append(piece)
            size += len(piece)
            if size >= PIECE_CHARS:
                break
        return "".join(found).encode()

    while data := await blocking(some):
        yield data
