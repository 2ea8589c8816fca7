"""/v1/files: what users upload and batches make, as the OpenAI clients use it. A key sees the files of its project.

An upload is written to disk while it comes, and is kept when its answer leaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Path, Query, Request
from starlette.responses import JSONResponse, Response

from llmos.access.base import Caller, Scope
from llmos.errors import InvalidValue
from llmos.infra.uploads import PURPOSES, StoredFile, check_purpose
from llmos.server.answers import documented
from llmos.server.file_answers import FileAnswer, FileListAnswer, FileRemovedAnswer
from llmos.server.multipart import receive_form
from llmos.server.scopes import ScopedRouter, needs
from llmos.server.work import EventStream, blocking, caller_of, state_of

router = ScopedRouter(Scope.JOBS, tags=["OpenAI"])

PIECE_BYTES = 256 << 10
EXPIRES_S = (3600, 2_592_000)  # of OpenAI: an hour to 30 days
_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
Id = Annotated[str, Path(max_length=64)]
_FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": list(PURPOSES)},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": EXPIRES_S[0], "maximum": EXPIRES_S[1]},
    },
}
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}


def shown(stored: StoredFile) -> dict[str, Any]:
    return {
        "id": stored.id,
        "object": "file",
        "bytes": stored.size_bytes,
        "created_at": seconds(stored.created_at),
        "expires_at": seconds(stored.expires_at) if stored.expires_at else None,
        "filename": stored.filename,
        "purpose": stored.purpose,
        "status": "processed",
    }


def seconds(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp())


def project_of(caller: Caller) -> str | None:
    """Whose files the caller sees; None for those of all projects."""
    return None if caller.everywhere else caller.project


@router.post(
    "/v1/files",
    response_model=None,
    responses=documented(FileAnswer),
    summary="Upload a file",
    openapi_extra={**_BODY, **needs(makes="file", upload=True)},
)
async def create(request: Request) -> Response:
    uploads, caller = state_of(request).uploads, caller_of(request)
    place = await blocking(uploads.place)
    try:
        form = await receive_form(request, place)
        for name in form.fields:
            if name not in _FIELDS:
                raise InvalidValue(f"Unknown field {name[:64]!r}.", param=name[:64], hint="Remove it; no field is ignored.")
        if "purpose" not in form.fields:
            raise InvalidValue("The field 'purpose' is missing.", param="purpose")
        purpose = check_purpose(form.fields["purpose"])
        expires_in_s = _expires(form.fields)
        stored = await blocking(
            lambda: uploads.add(
                place,
                filename=form.filename,
                purpose=purpose,
                project=caller.project,
                created_by=caller.key_id,
                expires_in_s=expires_in_s,
            )
        )
    finally:
        await blocking(lambda: place.unlink(missing_ok=True))
    return JSONResponse(shown(stored))


def _expires(fields: Any) -> float | None:
    anchor, given = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and given is None:
        return None
    if anchor != "created_at":
        raise InvalidValue("expires_after.anchor must be 'created_at'.", param="expires_after.anchor")
    least, most = EXPIRES_S
    if given is None or not given.isdecimal() or not least <= int(given) <= most:
        raise InvalidValue(f"expires_after.seconds must be a number from {least} to {most}.", param="expires_after.seconds")
    return float(given)


@router.get("/v1/files", response_model=None, responses=documented(FileListAnswer), summary="Files of the own project")
async def list_files(
    request: Request,
    purpose: Annotated[str | None, Query(max_length=32, description="Only those of this purpose.")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    after: Annotated[str, Query(max_length=64, description="The last id of the page before.")] = "",
    order: Literal["asc", "desc"] = "desc",
) -> Response:
    uploads, project = state_of(request).uploads, project_of(caller_of(request))
    found = await blocking(
        lambda: uploads.list(project, purpose=purpose, limit=limit + 1, after=after, newest_first=order == "desc")
    )
    page = [shown(one) for one in found[:limit]]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return JSONResponse({"object": "list", "data": page, **ends, "has_more": len(found) > limit})


@router.get("/v1/files/{file_id}", response_model=None, responses=documented(FileAnswer), summary="One file")
async def retrieve(file_id: Id, request: Request) -> Response:
    uploads, project = state_of(request).uploads, project_of(caller_of(request))
    return JSONResponse(shown(await blocking(lambda: uploads.get(file_id, project))))


@router.delete("/v1/files/{file_id}", response_model=None, responses=documented(FileRemovedAnswer), summary="Remove a file")
async def delete(file_id: Id, request: Request) -> Response:
    uploads, project = state_of(request).uploads, project_of(caller_of(request))
    await blocking(lambda: uploads.remove(file_id, project))
    return JSONResponse({"id": file_id, "object": "file", "deleted": True})


_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes", "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.get("/v1/files/{file_id}/content", response_model=None, responses=_CONTENT, summary="The bytes of a file")
async def content(file_id: Id, request: Request) -> Response:
    uploads, project = state_of(request).uploads, project_of(caller_of(request))

    def find() -> tuple[StoredFile, FilePath]:
        return uploads.get(file_id, project), uploads.path(file_id, project)

    stored, path = await blocking(find)
    headers = {
        "content-length": str(stored.size_bytes),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(stored.filename)}",
    }
    return EventStream(_pieces(path), lambda: None, headers, media_type="application/octet-stream")


async def _pieces(path: FilePath) -> AsyncIterator[bytes]:
    file = await blocking(lambda: path.open("rb"))
    try:
        while piece := await blocking(lambda: file.read(PIECE_BYTES)):
            yield piece
    finally:
        file.close()
