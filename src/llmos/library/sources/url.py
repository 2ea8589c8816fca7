"""One file at an https address, with its SHA-256 in the fragment when it is known: https://host/model.gguf#sha256=…"""

from __future__ import annotations

from llmos.library.names import Reference
from llmos.library.sources.base import Access, Piece, Plan, RemoteFile, Source, sources


@sources.register("url")
class URLSource(Source):
    where = "that address"

    def plan(self, reference: Reference, access: Access) -> Plan:
        piece = Piece(url=reference.place, sha256=reference.revision)
        file = RemoteFile(path=reference.path, sha256=reference.revision, pieces=(piece,))
        return Plan(source=str(reference), files=(file,))
