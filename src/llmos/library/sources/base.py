"""The contract of a model source: it says which files a name means and where they are. It fetches no weights itself.

    Source.plan(reference, access) -> Plan(files, each with its pieces)   --download.py-->   blobs

One downloader serves every source, so resuming, checking, progress and atomicity are written once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from llmos.infra.fetch import Fetcher
from llmos.library.names import Reference
from llmos.registry import Registry
from llmos.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes at an address. sha256 and size_bytes are those of what the address serves ("" and 0: not known).

    member: the bytes are this member of the zip archive served there; with a final "/" all model files in that folder.
    """

    url: str
    sha256: str = ""
    size_bytes: int = 0
    member: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file of a model: its pieces joined in order, or a file that lies on this disk already.

    path: its name in the model's folder; "" for a folder inside an archive, whose names are known once it is there.
    local: where it lies. in_place: a store that keeps files by hash holds it, so it need not be copied.
    """

    path: str
    sha256: str = ""
    size_bytes: int = 0
    pieces: tuple[Piece, ...] = ()
    local: Path | None = None
    in_place: bool = False

    @property
    def download_bytes(self) -> int:
        return 0 if self.local else sum(piece.size_bytes for piece in self.pieces) or self.size_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a reference means now. `source` is the reference with its revision pinned; `skipped` are files of the place that
    the model does not need. `headers` go with every request to the source's own origin."""

    source: str
    files: tuple[RemoteFile, ...]
    licence: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @property
    def download_bytes(self) -> int:
        return sum(file.download_bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class Access:
    """What a source may use: the settings and the one network door."""

    settings: Settings
    fetcher: Fetcher


class Source(ABC):
    """Stateless. `where` names the place for people."""

    where: ClassVar[str]

    @abstractmethod
    def plan(self, reference: Reference, access: Access) -> Plan:
        """Raises NotFound, PermissionDenied, Unreachable, SourceError, UnsafeFile (only pickled weights) or InvalidValue."""


sources: Registry[Source] = Registry("model source")
