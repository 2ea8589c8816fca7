"""Reads a large binary file in pieces, checking every place against the end. Weights are stepped over, never read.

A mapped file would count in full against the address space that the child of `inspect_model` may have.
"""

from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType
from typing import Any

from llmos.errors import CorruptFile

_PIECE_BYTES = 256 << 10


class FileView:
    """`read` and `unpack` take what lies at `offset` and step over it. `end` bounds the whole file."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._file = path.open("rb")
        self.end = self._file.seek(0, 2)
        self.offset = 0
        self._piece, self._start = b"", 0

    def __enter__(self) -> FileView:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def read(self, count: int) -> bytes:
        """At most 256 KiB at once; longer texts occur in no header."""
        if count > _PIECE_BYTES:
            raise self.corrupt(f"a text claims {count} bytes; at most {_PIECE_BYTES} are read")
        place = self.offset
        self.skip(count)
        if not self._start <= place <= place + count <= self._start + len(self._piece):
            self._file.seek(place)
            self._piece, self._start = self._file.read(_PIECE_BYTES), place
        return self._piece[place - self._start : place - self._start + count]

    def skip(self, count: int) -> None:
        if count > self.end - self.offset:
            raise self.corrupt(f"{count} bytes are claimed where {self.end - self.offset} are left")
        self.offset += count

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.read(struct.calcsize(layout)))

    def corrupt(self, reason: str) -> CorruptFile:
        return CorruptFile(f"{self.name}: {reason} (at byte {self.offset}).", hint="Download it again.")
