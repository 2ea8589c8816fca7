"""ModelScope (modelscope.cn), by its HTTP protocol: one request lists the files with sizes and SHA-256, one URL serves each.

MODELSCOPE_ENDPOINT is honoured. Protocol: https://modelscope.cn/docs (Hub API, repo/files).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from llmos.errors import NotFound, SourceError
from llmos.library.names import Reference, relative_path
from llmos.library.sources.base import Access, Piece, Plan, RemoteFile, Source, sources
from llmos.library.sources.select import choose_files


@sources.register("ms")
class ModelScopeSource(Source):
    where = "ModelScope"

    def plan(self, reference: Reference, access: Access) -> Plan:
        revision = reference.revision or "master"
        base = f"{access.settings.modelscope_endpoint.rstrip('/')}/api/v1/models/{reference.place}/repo"
        answer = access.fetcher.get_json(f"{base}/files?Revision={quote(revision, safe='')}&Recursive=true")
        listed = _read_listing(answer, reference)
        choice = choose_files(list(listed), want=reference.path)
        files = [
            _remote_file(f"{base}?Revision={quote(revision, safe='')}&FilePath={quote(name, safe='')}", name, listed[name])
            for name in choice.files
        ]
        pinned = Reference(scheme="ms", place=reference.place, revision=revision, path=reference.path)
        return Plan(source=str(pinned), files=tuple(files), skipped=choice.skipped)


def _read_listing(answer: Any, reference: Reference) -> dict[str, dict[str, Any]]:
    try:
        if answer.get("Code") not in (200, None):
            raise NotFound(f"ModelScope does not serve {reference}: {answer.get('Message', 'no reason given')}.", param="model")
        return {relative_path(str(item["Path"])): item for item in answer["Data"]["Files"] if item.get("Type") != "tree"}
    except (KeyError, TypeError, AttributeError) as problem:
        raise SourceError(f"ModelScope's answer about {reference} is not a file listing ({problem!r}).") from None


def _remote_file(url: str, name: str, item: dict[str, Any]) -> RemoteFile:
    sha256, size = str(item.get("Sha256") or ""), int(item.get("Size") or 0)
    return RemoteFile(path=name, sha256=sha256, size_bytes=size, pieces=(Piece(url=url, sha256=sha256, size_bytes=size),))
