"""How large the batches of Arrow IPC become when they are decompressed, known before they are: their buffers say it.

A file of a few kilobytes can hold a batch of gigabytes, and Arrow makes a batch as a whole. Arrow's library has no limit for that, so the
sizes are read here, out of the messages' own metadata (flatbuffers; https://arrow.apache.org/docs/format/Columnar.html, "Compression":
each compressed buffer begins with its length, a little-endian int64, -1 for one that is left as it was).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

MAX_BATCH_BYTES = 1 << 30  # of a batch whose buffers are compressed
# Places of fields in the tables of Message.fbs
_HEADER, _DATA, _BUFFERS, _COMPRESSION = 2, 1, 2, 3


def sizes(source: Any) -> Iterator[int]:
    """Bytes of each batch, dictionaries among them, of a stream of messages; 0 for one that is not compressed. Raises pa.ArrowException,
    OSError and struct.error where it is no such stream."""
    for message in pa.ipc.MessageReader.open_stream(source):
        if message.type in ("record batch", "dictionary"):
            yield expanded(message)


def expanded(message: Any) -> int:
    """Bytes of a batch's buffers, decompressed; 0 when they are not compressed."""
    data = memoryview(message.metadata)
    batch = _table(data, _field(data, _at(data, 0), _HEADER))
    if message.type == "dictionary":
        batch = _table(data, _field(data, batch, _DATA))
    if not _field(data, batch, _COMPRESSION):
        return 0
    vector = _at(data, _field(data, batch, _BUFFERS))
    (num,) = struct.unpack_from("<I", data, vector)
    body, size = memoryview(message.body), 0
    for offset, length in struct.iter_unpack("<qq", data[vector + 4 : vector + 4 + 16 * num]):
        if length >= 8:
            size += max(0, struct.unpack_from("<q", body, offset)[0])
    return size


def _at(data: memoryview, place: int) -> int:
    """Where the offset that stands at `place` leads."""
    return place + int(struct.unpack_from("<I", data, place)[0])


def _table(data: memoryview, place: int) -> int:
    """Raises struct.error for a table that is not there."""
    if not place:
        raise struct.error("a table is missing")
    return _at(data, place)


def _field(data: memoryview, table: int, number: int) -> int:
    """Where the field of that number stands, 0 when the table does not have it."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, vtable)
    offset = struct.unpack_from("<H", data, vtable + 4 + 2 * number)[0] if 4 + 2 * number < size else 0
    return table + int(offset) if offset else 0
