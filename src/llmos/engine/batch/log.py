"""The log of results: one line an item, written when its answer is whole, never changed afterwards.

    <number> <o|e> <prompt tokens> <cached tokens> <completion tokens> <CRC-32> <the line for the user, as JSON>

A line is handed to the system as soon as it is there, which is enough for a killed process; it is on disk with the next `sync`, which is
what a power cut asks for. Opening reads what is there: whole lines count, what follows the first broken one is cut off.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from llmos.infra.files import fsync_dir, make_dir, storage_errors
from llmos.types import Usage


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log. offset, length: of the JSON in it."""

    number: int
    ok: bool
    usage: Usage
    offset: int
    length: int


class ResultLog:
    """An open log, to append to. One thread at a time writes; `sync` may come from another."""

    def __init__(self, path: Path) -> None:
        make_dir(path.parent)
        fresh = not path.exists()
        self._file: BinaryIO = path.open("ab", buffering=0)
        if fresh:
            fsync_dir(path.parent)
        self.path = path
        self.end = 0
        self._synced = 0

    def recover(self) -> Iterator[Entry]:
        """The whole lines, in the order of writing; then the log ends behind the last of them. Call it before `append`."""
        for entry in entries(self.path):
            self.end = entry.offset + entry.length + 1
            yield entry
        with storage_errors(self.path):
            os.ftruncate(self._file.fileno(), self.end)
        self.sync()

    def append(self, number: int, *, ok: bool, usage: Usage, line: bytes) -> None:
        """line: JSON without a line end. Raises StorageError; the line then does not count."""
        raw = _head(number, ok, usage, line) + line + b"\n"
        with storage_errors(self.path):
            written = os.write(self._file.fileno(), raw)
            while written < len(raw):  # a disk that fills up takes a part first, then says why
                written += os.write(self._file.fileno(), raw[written:])
        self.end += len(raw)

    def sync(self) -> None:
        """Makes all lines so far durable."""
        end = self.end
        if end != self._synced:
            with storage_errors(self.path):
                os.fsync(self._file.fileno())
            self._synced = end

    def close(self) -> None:
        self._file.close()


def entries(path: Path) -> Iterator[Entry]:
    """The whole lines of a log, in the order of writing, up to the first that is not whole. Changes nothing."""
    end = 0
    with path.open("rb") as reader:
        for raw in reader:
            entry = _read(raw, end)
            if entry is None:
                return
            end += len(raw)
            yield entry


def _head(number: int, ok: bool, usage: Usage, line: bytes) -> bytes:
    tokens = f"{usage.prompt_tokens} {usage.cached_tokens} {usage.completion_tokens}"
    facts = f"{number} {'o' if ok else 'e'} {tokens}".encode()
    return facts + b" %08x " % zlib.crc32(line, zlib.crc32(facts))


def _read(raw: bytes, start: int) -> Entry | None:
    """The entry of a line that begins at `start` of the file; None for one that is not whole."""
    if not raw.endswith(b"\n"):
        return None
    parts = raw[:-1].split(b" ", 6)
    if len(parts) != 7 or parts[1] not in (b"o", b"e"):
        return None
    try:
        number, prompt, cached, completion = (int(parts[place]) for place in (0, 2, 3, 4))
    except ValueError:
        return None
    ok, usage = parts[1] == b"o", Usage(prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion)
    head = _head(number, ok, usage, parts[6])
    if not raw.startswith(head):
        return None
    return Entry(number, ok, usage, start + len(head), len(parts[6]))
