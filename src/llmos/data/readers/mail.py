"""Mail: single messages (.eml, or files without an ending that begin like one) and mbox files, one row a message.

Headers become columns, the body text; of a message with several forms of its text the plain one is taken, else the HTML one's text. Wrong
or missing charsets are common in mail: `charset` tells how the text was read in the end. RFC 5322, RFC 2045 to 2047; mbox as RFC 4155.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from typing import Any

import pyarrow as pa

from llmos.data.readers.base import Problem, ReadOptions, SourceFile, Unreadable, readers
from llmos.data.readers.documents import extracted
from llmos.data.readers.lines import PIECE_BYTES, shown, too_long
from llmos.data.readers.rows import TEXT, TEXTS, Numbered, RowReader, all_bytes

HEADERS = {"subject": "Subject", "from": "From", "to": "To", "cc": "Cc", "date": "Date", "message_id": "Message-ID"}
MAX_PARTS = 1000
_HEADER = re.compile(rb"^([!-9;-~]+):[ \t]", re.MULTILINE)
_KNOWN = {b"from", b"received", b"subject", b"date", b"message-id", b"return-path", b"to", b"delivered-to", b"mime-version"}
_FROM = re.compile(rb"^From \S+ .*\d\d:\d\d.* \d{4}\r?$")


@readers.register("mail")
class Mail(RowReader):
    name = "mail"
    suffixes = (".eml", ".mbox", ".mbx")

    @property
    def columns(self) -> pa.Schema:
        names = ("text", *HEADERS, "charset", "headers", "path")
        return pa.schema([*(pa.field(name, TEXT) for name in names), pa.field("attachments", TEXTS)])

    def sniff(self, head: bytes) -> bool:
        lines = head[:8192].split(b"\n\n", 1)[0].split(b"\r\n\r\n", 1)[0]
        first = lines.split(b"\n", 1)[0]
        names = {found.lower() for found in _HEADER.findall(lines)}
        return len(names & _KNOWN) >= 3 and (bool(_HEADER.match(first)) or first.startswith(b"From "))

    def rows(self, file: SourceFile, options: ReadOptions) -> Iterator[Numbered]:
        with file.open() as data:
            head = data.read(5)
        if not head:
            return
        if head != b"From ":
            yield 1, _row(all_bytes(file, options), file, options)
            return
        for number, message, size in _messages(file, options):
            yield _told(number, message, size, file, options)


def _told(number: int, message: bytes, size: int, file: SourceFile, options: ReadOptions) -> Numbered:
    """The row; of a message that cannot be read a Problem, since others follow it in the file."""
    if size > options.max_row_bytes:
        return too_long(number, size, message, options)
    try:
        return number, _row(message, file, options)
    except Unreadable as problem:
        return Problem(row=number, message=str(problem), raw=shown(message))


def _messages(file: SourceFile, options: ReadOptions) -> Iterator[tuple[int, bytes, int]]:
    """(line of its `From ` line, message, its size) of an mbox file; of one that is too long the beginning."""
    held: list[bytes] = []
    first, number, size, blank, whole = 1, 1, 0, True, True
    with file.open() as data:
        for line in iter(lambda: data.readline(PIECE_BYTES), b""):
            if blank and whole and _FROM.match(line.rstrip(b"\n")):
                if number > 1:
                    yield first, b"".join(held), size
                held, first, size = [], number, 0
            else:
                size += len(line)
                if size <= options.max_row_bytes or not held:
                    held.append(line[1:] if whole and line.startswith(b">From ") else line)
            blank, whole = whole and not line.strip(), line.endswith(b"\n")  # a piece of a long line is no line
            number += whole
    yield first, b"".join(held), size


def _row(data: bytes, file: SourceFile, options: ReadOptions) -> dict[str, Any]:
    if data.startswith(b"From "):
        data = data.partition(b"\n")[2]
    try:
        message = message_from_bytes(data)
        parts = [part for part, _ in zip(message.walk(), range(MAX_PARTS), strict=False)]
        text, charset = _body(parts, options)
        row: dict[str, Any] = {column: _header(message, name) for column, name in HEADERS.items()}
        attachments = [_clean(name) for part in parts if (name := part.get_filename())]
    except (MessageError, ValueError, LookupError, TypeError, AttributeError, IndexError, RecursionError) as problem:
        raise Unreadable(f"{file.path.name} is no sound mail: {type(problem).__name__}: {problem}") from None
    end = re.search(rb"\r?\n\r?\n", data)
    headers = data[: end.start() if end else len(data)].decode("utf-8", "replace").replace("\r\n", "\n")
    return {**row, "text": text, "charset": charset, "headers": headers, "path": file.label, "attachments": attachments}


def _header(message: Message, name: str) -> str | None:
    """Decoded; as it stands where its encoding is wrong."""
    raw = message.get(name)
    if raw is None:
        return None
    try:
        found = "".join(
            part if isinstance(part, str) else _decoded(part, charset or "")[0] for part, charset in decode_header(str(raw))
        )
    except (MessageError, ValueError):
        found = str(raw)
    return " ".join(_clean(found).split())


def _body(parts: list[Message], options: ReadOptions) -> tuple[str, str]:
    """The texts of the message and their charset: all plain ones, else the HTML ones."""
    shown = [part for part in parts if not part.is_multipart() and part.get_content_disposition() != "attachment"]
    for kind in ("text/plain", "text/html"):
        found = [_part(part) for part in shown if part.get_content_type() == kind]
        texts = [text for text, _ in found if text.strip()]
        if not texts:
            continue
        if kind == "text/html":
            texts = [extracted("html", options.model_copy(update={"html": "text"}), text=text)["text"] for text in texts]
        return "\n".join(texts), found[0][1]
    return "", ""


def _part(part: Message) -> tuple[str, str]:
    payload = part.get_payload(decode=True)
    text, charset = _decoded(payload if isinstance(payload, bytes) else b"", str(part.get_content_charset() or ""))
    return _clean(text.replace("\r\n", "\n")), charset


def _decoded(data: bytes, charset: str) -> tuple[str, str]:
    """As the message says, else UTF-8, else Windows' Western, which nearly every old mail without a charset is, else Latin-1."""
    for name in (charset, "utf-8", "cp1252"):
        if name:
            try:
                return data.decode(name), name
            except (UnicodeError, LookupError):
                continue
    return data.decode("latin-1"), "latin-1"


def _clean(text: str) -> str:
    """Without half surrogate pairs, which the email library uses for bytes it could not decode."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if not text.isascii() else text
