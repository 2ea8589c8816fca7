"""Translations as TMX, or as Moses files: two texts, a sentence a line each.

Rows have a column `translation` (an object with a text for each language), or `source` and `target`, with `source_language` and
`target_language` where they are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import escape, quoteattr

import polars as pl

from llmos.data.writers.base import Columns, FolderWriter, Notes, Writer, left_out, writers
from llmos.data.writers.texts import one_a_line
from llmos.errors import InvalidValue

_PLACES = ("source", "target", "source_language", "target_language")
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def check_pair(columns: Columns, format: str) -> None:
    translation = columns.get("translation")
    if isinstance(translation, pl.Struct) and all(field.dtype == pl.String for field in translation.fields):
        return
    if all(columns.get(name) == pl.String for name in ("source", "target")):
        return
    raise InvalidValue(
        f"A {format} file needs 'translation', a text for each language, or source and target; there are {', '.join(columns)}.",
        param="sinks",
    )


def pairs(frame: pl.DataFrame) -> Iterator[dict[str, str]]:
    """language -> text, of every row."""
    for row in frame.iter_rows(named=True):
        if row.get("translation") is not None:
            yield {name: text for name, text in row["translation"].items() if text is not None}
        else:
            names = [row.get("source_language") or "source", row.get("target_language") or "target"]
            yield {name: text for name, text in zip(names, (row["source"], row["target"]), strict=True) if text is not None}


@writers.register("tmx")
class TMX(Writer):
    """TMX 1.4b. https://www.gala-global.org/tmx-14b"""

    name = "tmx"
    suffixes = (".tmx",)

    def check(self, columns: Columns) -> None:
        check_pair(columns, "TMX")

    def write(self, frames: Iterator[pl.DataFrame], columns: Columns, out: IO[bytes], notes: Notes) -> int:
        left_out(columns, {"id", "translation", *_PLACES}, "TMX", notes)
        out.write(_HEAD)
        height = 0
        for frame in frames:
            names = frame.get_column("id").cast(pl.String).to_list() if "id" in frame.columns else [None] * frame.height
            for name, pair in zip(names, pairs(frame), strict=True):
                height += 1
                out.write(_unit(name, pair, height).encode())
        out.write(b"</body>\n</tmx>\n")
        return height


_HEAD = b"""<?xml version="1.0" encoding="UTF-8"?>
<tmx version="1.4">
<header creationtool="llmos" creationtoolversion="1" segtype="sentence" o-tmf="none" adminlang="en" srclang="*all*" datatype="plaintext"/>
<body>
"""


def _unit(name: str | None, pair: dict[str, str], height: int) -> str:
    lines = [f"<tu tuid={quoteattr(name)}>" if name else "<tu>"]
    for language, text in pair.items():
        if _NO_XML.search(text) or text != text.strip():
            raise InvalidValue(
                f"Row {height:,} has control characters, or white space around its text, which XML does not keep.", param="sinks"
            )
        lines.append(f"<tuv xml:lang={quoteattr(language)}><seg>{escape(text, {chr(13): '&#13;'})}</seg></tuv>")
    return "\n".join([*lines, "</tu>\n"])


@writers.register("moses")
class Moses(FolderWriter):
    """`<folder>/text.<language>`, two files."""

    name = "moses"

    def check(self, columns: Columns) -> None:
        check_pair(columns, "Moses")

    def write(self, frames: Iterator[pl.DataFrame], columns: Columns, folder: Path, notes: Notes) -> int:
        left_out(columns, {"translation", *_PLACES}, "Moses", notes)
        height = 0
        languages: list[str] | None = None
        with ExitStack() as closing:
            files: list[Any] = []
            for frame in frames:
                rows = list(pairs(frame))
                if languages is None and rows:
                    languages = list(rows[0])
                    files = [closing.enter_context((folder / f"text.{_plain(name)}").open("wb")) for name in languages]
                wrong = next((place for place, row in enumerate(rows) if list(row) != languages), None)
                if wrong is not None or (languages is not None and len(languages) != 2):
                    raise InvalidValue(
                        f"Row {height + (wrong or 0) + 1:,} is in {' and '.join(rows[wrong or 0]) or 'no language'}; a Moses pair has two, "
                        f"the same in all rows ({' and '.join(languages or [])}).", param="sinks",
                    )  # fmt: skip
                for file, name in zip(files, languages or [], strict=True):
                    file.write(one_a_line(pl.Series([row[name] for row in rows], dtype=pl.String), height, "Moses"))
                height += frame.height
        return height


def _plain(language: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,35}", language):
        raise InvalidValue(f"{language!r} is no code of a language.", param="translation")
    return language
