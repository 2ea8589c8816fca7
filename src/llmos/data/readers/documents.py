"""Documents: Markdown, HTML, PDF and Word files, one row a file with its text and title. A damaged file is one line of the error table.

HTML, PDF and Word files are parsed in a child process with limits on memory and time (infra/sandbox.py), since they come from strangers and
a page of a few kilobytes can keep a parser busy for hours. The libraries are those of the extra `data`.
"""

from __future__ import annotations

import atexit
import re
from abc import abstractmethod
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from llmos.data.readers.base import ReadOptions, SourceFile, Unreadable, readers
from llmos.data.readers.lines import BOM, as_utf8, wide_encoding
from llmos.data.readers.rows import TEXT, Numbered, RowReader, all_bytes
from llmos.errors import ChildCrashed, LimitExceeded, LLMOSError, MissingExtra
from llmos.infra.sandbox import LimitedChild

MEMORY_BYTES = 2 << 30  # address space of the child, its libraries included
CPU_S = 60.0
WALL_S = 120.0
FRONT_CHARS = 10_000  # of what stands in front of a Markdown text, between lines of ---
_HEADING = re.compile(r"^#[ \t]+(\S.*)$", re.MULTILINE)


@cache
def _child() -> LimitedChild:
    child = LimitedChild("llmos.data.readers.extract:extract", memory_bytes=MEMORY_BYTES, cpu_s=CPU_S, wall_s=WALL_S)
    atexit.register(child.close)
    return child


def extracted(kind: str, options: ReadOptions, **given: Any) -> dict[str, Any]:
    """Text and title by the child. given: `path` or `text`. Raises Unreadable."""
    try:
        found: dict[str, Any] = _child().call({"kind": kind, "html": options.html, "max_bytes": options.max_row_bytes, **given})
    except (LimitExceeded, ChildCrashed) as problem:
        raise Unreadable(problem.message) from None
    except LLMOSError as problem:
        raise Unreadable(str(problem)) from None
    return found


class Document(RowReader):
    """One row a file."""

    modules: tuple[str, ...] = ()  # that must be installed

    @property
    def columns(self) -> pa.Schema:
        return pa.schema([pa.field(name, TEXT) for name in ("text", "title", "path")])

    def prepare(self, options: ReadOptions) -> None:
        if any(find_spec(module) is None for module in self.modules):
            raise MissingExtra("data", needed_for=f"Reading {self.name} files")

    def rows(self, file: SourceFile, options: ReadOptions) -> Iterator[Numbered]:
        yield 1, {"path": file.label, **self.document(file, options)}

    @abstractmethod
    def document(self, file: SourceFile, options: ReadOptions) -> dict[str, Any]:
        """Its columns but `path`. Raises Unreadable."""


@readers.register("markdown")
class Markdown(Document):
    name = "markdown"
    suffixes = (".md", ".markdown", ".mdown")
    modules = ("selectolax",)

    def prepare(self, options: ReadOptions) -> None:
        if options.markdown == "text":
            super().prepare(options)

    def document(self, file: SourceFile, options: ReadOptions) -> dict[str, Any]:
        text = decoded(file, options)
        title = _front_title(text) or _heading(text)
        if options.markdown == "text":
            from markdown_it import MarkdownIt

            text = extracted("html", options.model_copy(update={"html": "text"}), text=MarkdownIt().render(text))["text"]
        return {"text": text, "title": title}


def _front_title(text: str) -> str | None:
    lines = text[:FRONT_CHARS].split("\n")
    front = lines[1 : lines.index("---", 1)] if lines[0] == "---" and "---" in lines[1:] else []
    found = next((line.removeprefix("title:").strip() for line in front if line.startswith("title:")), "")
    if found[:1] in "'\"" and found[-1:] == found[:1]:
        found = found[1:-1]
    return found.strip() or None


def _heading(text: str) -> str | None:
    """The first of the first level, without the # that may end it (CommonMark 0.31, 4.2: white space is before them)."""
    found = _HEADING.search(text)
    title = found[1].rstrip() if found else ""
    bare = title.rstrip("#")
    return (bare.rstrip() if not bare or bare[-1].isspace() else title) or None


@readers.register("html")
class HTML(Document):
    name = "html"
    suffixes = (".html", ".htm", ".xhtml")
    modules = ("selectolax", "trafilatura")

    def prepare(self, options: ReadOptions) -> None:
        if options.html != "raw":
            super().prepare(options)

    def sniff(self, head: bytes) -> bool:
        return head.removeprefix(BOM).lstrip()[:15].lower().startswith((b"<!doctype html", b"<html"))

    def document(self, file: SourceFile, options: ReadOptions) -> dict[str, Any]:
        return html_text(all_bytes(file, options), options)


def html_text(data: bytes, options: ReadOptions, charset: str = "") -> dict[str, Any]:
    """Text and title of a page. charset: as HTTP told it. Raises Unreadable."""
    text = html_source(data, options, charset)
    if options.html == "raw":
        return {"text": text}
    return extracted("html", options, text=text)


_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)


def html_source(data: bytes, options: ReadOptions, charset: str = "") -> str:
    """Decoded by its byte order mark, HTTP, `<meta charset>`, else as UTF-8 or `read.encoding` (the order of the HTML standard, 13.2.3)."""
    for mark, name in ((BOM, "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if data.startswith(mark):
            return _strict(data.removeprefix(mark), name, options)
    told = _META.search(data[:4096])
    return _strict(data, charset or (told[1].decode() if told else ""), options)


def _strict(data: bytes, name: str, options: ReadOptions) -> str:
    name = {"iso-8859-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252"}.get(name.lower(), name)  # as browsers do
    for encoding in (name, options.encoding):
        if encoding and encoding != "auto":
            try:
                return data.decode(encoding)
            except (UnicodeDecodeError, LookupError):
                continue
    good, why = as_utf8(data, "auto")
    if why or options.encoding != "auto":
        raise Unreadable(f"The text is not {name or options.encoding} (read.encoding: auto guesses).")
    return good.decode()


@readers.register("pdf")
class PDF(Document):
    name = "pdf"
    suffixes = (".pdf",)
    modules = ("pypdf",)

    @property
    def columns(self) -> pa.Schema:
        return super().columns.append(pa.field("num_pages", pa.int64()))

    def sniff(self, head: bytes) -> bool:
        return head.startswith(b"%PDF-")

    def document(self, file: SourceFile, options: ReadOptions) -> dict[str, Any]:
        return extracted("pdf", options, path=uncompressed(file))


@readers.register("docx")
class DOCX(Document):
    name = "docx"
    suffixes = (".docx",)
    modules = ("docx",)

    def document(self, file: SourceFile, options: ReadOptions) -> dict[str, Any]:
        return extracted("docx", options, path=uncompressed(file))


def uncompressed(file: SourceFile) -> str:
    if file.compression:
        raise Unreadable(f"{file.path.name}: {file.compression} around this format is not read; decompress it first.")
    return str(file.path)


def decoded(file: SourceFile, options: ReadOptions) -> str:
    """The whole file as text, line ends as \\n. Raises Unreadable."""
    data, why = as_utf8(all_bytes(file, options).removeprefix(BOM), wide_encoding(file, options) or options.encoding)
    if why:
        raise Unreadable(f"{file.path.name}: {why}")
    return data.decode().removeprefix("\ufeff").replace("\r\n", "\n")
