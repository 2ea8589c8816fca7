"""The inside of documents, in a limited child process (documents.py starts it): HTML, PDF and Word files to text and title.

A Word file is a zip of XML; what it would expand to is added up before anything is read, and XML entities are not resolved (python-docx's
parser has them off). Limits on memory and time are those of the child.
"""

from __future__ import annotations

import contextlib
import io
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmos.errors import InvalidValue

MAX_EXPANSION = 200
FREE_BYTES = 64 << 20


def extract(asked: dict[str, Any]) -> dict[str, Any]:
    """asked: kind, max_bytes, and path or text. Raises InvalidValue that says what is wrong with the document."""
    logging.disable(logging.CRITICAL)  # the libraries' remarks on damaged files; standard error is closed here
    if asked["kind"] == "html":
        found = _main(asked["text"]) if asked["html"] == "main" else _text(asked["text"])
    else:
        data = _bytes(Path(asked["path"]), int(asked["max_bytes"]))
        found = _pdf(data) if asked["kind"] == "pdf" else _docx(data)
    if not found["text"].strip():
        raise InvalidValue("There is no text in it.", hint=_EMPTY[asked["kind"]])
    return {name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value for name, value in found.items()}


_EMPTY = {"html": "read.html: text takes all text, raw the source.", "pdf": "It may be a scan.", "docx": ""}


def _bytes(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InvalidValue(f"It has more than {most:,} bytes (read.max_row_bytes).")
    return data


# -- HTML --------------------------------------------------------------------------------------------------------------
_BLOCKS = "p,div,li,h1,h2,h3,h4,h5,h6,tr,br,pre,blockquote,section,article,header,footer,table,ul,ol,dl,dt,dd,title,option,hr,td,th"


def _text(source: str) -> dict[str, Any]:
    """All text that is shown, a line a block."""
    from selectolax.lexbor import LexborHTMLParser

    page = LexborHTMLParser(source)
    found = page.css_first("title")
    title = _line(found.text()) if found is not None else None
    for hidden in page.css("script,style,noscript,template,head"):
        hidden.decompose()
    for block in page.css(_BLOCKS):
        block.insert_after("\n")
        if block.tag not in ("br", "hr", "td", "th"):
            block.insert_before("\n")
    body = page.body.text() if page.body is not None else ""
    lines = [" ".join(line.split()) for line in body.split("\n")]
    return {"text": "\n".join(line for line in lines if line), "title": title}


def _main(source: str) -> dict[str, Any]:
    """The main text, without menus and footers. (trafilatura: Barbaresi 2021, doi:10.18653/v1/2021.acl-demo.15)"""
    import trafilatura
    from trafilatura.settings import use_config

    config = use_config()
    config.set("DEFAULT", "EXTRACTION_TIMEOUT", "0")  # the child has its own
    text = trafilatura.extract(source, include_comments=False, include_tables=True, config=config)
    return {"text": text or "", "title": _text(source)["title"]}


def _line(text: str | None) -> str | None:
    return " ".join((text or "").split()) or None


# -- PDF ---------------------------------------------------------------------------------------------------------------
def _pdf(data: bytes) -> dict[str, Any]:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise InvalidValue("It is encrypted.")
        pages = [page.extract_text() for page in reader.pages]
        title = None
        with contextlib.suppress(Exception):  # a damaged title does not cost the text
            title = _line(reader.metadata.title) if reader.metadata else None
    except InvalidValue:
        raise
    except (
        PyPdfError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        RecursionError,
        NotImplementedError,
        OSError,
    ) as problem:
        raise InvalidValue(f"It is no sound PDF: {type(problem).__name__}: {problem}") from None
    return {"text": "\n\n".join(page.strip() for page in pages if page.strip()), "title": title, "num_pages": len(pages)}


# -- Word --------------------------------------------------------------------------------------------------------------
def _docx(data: bytes) -> dict[str, Any]:
    import docx
    from docx.opc.exceptions import OpcError
    from lxml.etree import LxmlError  # type: ignore[import-untyped,unused-ignore]

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > max(FREE_BYTES, MAX_EXPANSION * len(data)):
            raise InvalidValue(f"It expands to {size:,} bytes, more than {MAX_EXPANSION} times its size.")
        document = docx.Document(io.BytesIO(data))
        return {"text": "\n".join(_blocks(document)), "title": _line(document.core_properties.title)}
    except (
        zipfile.BadZipFile,
        OpcError,
        LxmlError,
        ValueError,
        KeyError,
        AttributeError,
        NotImplementedError,
        EOFError,
    ) as problem:
        raise InvalidValue(f"It is no sound Word file: {type(problem).__name__}: {problem}") from None


def _blocks(document: Any) -> Iterator[str]:
    """Paragraphs and tables in their order; the cells of a table row are set apart by tabs."""
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            for row in block.rows:
                yield "\t".join(cell.text.replace("\n", " ") for cell in row.cells)
        else:
            yield block.text
