"""WARC files, the archives of web crawls: a row is a page. Of WET files (`conversion` records) the text as it stands, of WARC files
(`response` records with HTTP 200) the text of the HTML by `read.html`; other records are no pages.

Numbers are those of the records in the file. ISO 28500; records are read by warcio (extra `data`).
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from llmos.data.readers.base import Problem, ReadOptions, SourceFile, Unreadable, readers
from llmos.data.readers.documents import html_text
from llmos.data.readers.rows import TEXT, Numbered, RowReader
from llmos.errors import MissingExtra

PAGES = ("text/html", "application/xhtml+xml", "")


@readers.register("warc")
class WARC(RowReader):
    name = "warc"
    suffixes = (".warc", ".wet", ".warc.wet")

    @property
    def columns(self) -> pa.Schema:
        return pa.schema([pa.field(name, TEXT) for name in ("text", "title", "url", "date", "record_id")])

    def sniff(self, head: bytes) -> bool:
        return head.startswith(b"WARC/")

    def prepare(self, options: ReadOptions) -> None:
        if any(find_spec(module) is None for module in ("warcio", "selectolax", "trafilatura")):
            raise MissingExtra("data", needed_for="Reading WARC files")

    def rows(self, file: SourceFile, options: ReadOptions) -> Iterator[Numbered]:
        from warcio.archiveiterator import ArchiveIterator  # type: ignore[import-untyped,unused-ignore]
        from warcio.exceptions import ArchiveLoadFailed  # type: ignore[import-untyped,unused-ignore]

        number = 0
        with file.open() as data:
            try:
                for record in ArchiveIterator(data, no_record_parse=False, check_digests=False):
                    number += 1
                    found = _page(record, number, options)
                    if found is not None:
                        yield found
            except (ArchiveLoadFailed, ValueError, KeyError, AttributeError, IndexError, EOFError, OSError) as problem:
                raise Unreadable(f"{file.path.name} is damaged after record {number}: {problem}") from None


def _page(record: Any, number: int, options: ReadOptions) -> Numbered | None:
    """None for records that are no pages."""
    http, headers = record.http_headers, record.rec_headers
    kind = (http.get_header("Content-Type") or "").lower() if http else ""
    is_page = (
        record.rec_type == "response"
        and http is not None
        and http.get_statuscode() == "200"
        and kind.split(";")[0].strip() in PAGES
    )
    if record.rec_type != "conversion" and not is_page:
        return None
    data = record.content_stream().read(options.max_row_bytes + 1)
    if len(data) > options.max_row_bytes:
        return Problem(row=number, message=f"a page of more than {options.max_row_bytes:,} bytes (read.max_row_bytes)")
    row = {
        "url": headers.get_header("WARC-Target-URI"),
        "date": headers.get_header("WARC-Date"),
        "record_id": headers.get_header("WARC-Record-ID"),
    }
    try:
        if record.rec_type == "conversion":
            return number, {**row, "text": data.decode("utf-8")}
        charset = kind.partition("charset=")[2].strip(" \"'").split(";")[0]
        return number, {**row, **html_text(data, options, charset)}
    except (UnicodeDecodeError, Unreadable) as problem:
        return Problem(row=number, message=str(problem), raw=str(row["url"] or "")[:200])
