"""Forms with a file (multipart/form-data), read as they come: the file goes to disk, the few fields beside it into memory.

python-multipart finds the parts; here are the limits, and what a part must be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from llmos.errors import InvalidValue
from llmos.infra.files import storage_errors

MAX_FIELDS = 32
MAX_FIELD_BYTES = 16 << 10
WRITE_BYTES = 1 << 20  # collected before a write


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """fields: by name, as text. filename: what the client calls the file."""

    fields: Mapping[str, str]
    filename: str
    size_bytes: int


async def receive_form(request: Request, place: Path) -> Form:
    """Reads the form; its part `file` is written to `place`, which must not exist. Raises InvalidValue, and what the gate raises for a
    body that is too large or too slow, ConnectionAbortedError when the client goes; what was written by then is the caller's to
    remove."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary or len(boundary) > 256:
        raise InvalidValue("The body is not a form with a file (multipart/form-data).", param="Content-Type")
    parts = _Parts()
    parser = MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]  # a TypedDict of what is there
    with storage_errors(place), place.open("xb") as file:
        try:
            async for chunk in request.stream():
                parser.write(chunk)
                if len(parts.waiting) >= WRITE_BYTES:
                    await asyncio.to_thread(file.write, parts.taken())
        except ClientDisconnect:
            raise ConnectionAbortedError("the client went away") from None
        except FormParserError as problem:
            raise InvalidValue(f"The form is not valid: {str(problem)[:200]}.") from None
        await asyncio.to_thread(file.write, parts.taken())
    if not parts.ended:
        raise InvalidValue("The form ends in the middle of a part.")
    if parts.filename is None:
        raise InvalidValue("The form has no file.", param="file")
    return Form(fields=parts.fields, filename=parts.filename, size_bytes=parts.size_bytes)


class _Parts:
    """What the parser has found so far."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.size_bytes = 0
        self.waiting = bytearray()  # of the file
        self.ended = False
        self._head: dict[bytes, bytes] = {}
        self._name, self._value = b"", b""  # of the header under way
        self._field: str | None = None  # the part under way; None: the file
        self._text = bytearray()

    def callbacks(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in dir(self) if name.startswith("on_")}

    def taken(self) -> bytes:
        data = bytes(self.waiting)
        self.waiting.clear()
        return data

    def on_part_begin(self) -> None:
        self._head.clear()
        self._text.clear()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._head[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._head.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if not name:
            raise InvalidValue("A part of the form has no name.")
        filename = options.get(b"filename")
        if name == "file":
            if self.filename is not None:
                raise InvalidValue("The form has two files; one is accepted.", param="file")
            self.filename = (filename or b"file").decode("utf-8", "replace")
            self._field = None
            return
        if filename is not None:
            raise InvalidValue(f"The form has a file in the field {name[:64]!r}; it belongs in 'file'.", param=name[:64])
        if name in self.fields or len(self.fields) >= MAX_FIELDS:
            raise InvalidValue(f"The field {name[:64]!r} is there twice, or there are too many.", param=name[:64])
        self._field = name

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self.waiting += data[start:end]
            self.size_bytes += end - start
        elif len(self._text) + end - start > MAX_FIELD_BYTES:
            raise InvalidValue(f"The field has more than {MAX_FIELD_BYTES} bytes.", param=self._field[:64])
        else:
            self._text += data[start:end]

    def on_part_end(self) -> None:
        if self._field is not None:
            self.fields[self._field] = self._text.decode("utf-8", "replace")

    def on_end(self) -> None:
        self.ended = True
