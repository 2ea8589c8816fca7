"""Translations: TMX translation memories, and Moses files, two texts that belong together line by line.

TMX is XML from strangers: it is read as a stream, entities that a file defines are refused (they are how a kilobyte becomes a gigabyte and
how files of this machine leak), and nothing that it refers to is fetched. Moses files are named as OPUS does, `name.en-fr.en` beside
`name.en-fr.fr`, or `corpus.en` beside `corpus.fr`; the first of the two is the one to name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import Any
from xml.parsers import expat

import pyarrow as pa

from llmos.data.readers.base import Problem, ReadOptions, Slice, SourceFile, Unreadable, readers, whole
from llmos.data.readers.compressed import sound_name
from llmos.data.readers.lines import BOM, as_utf8, shown, until_damage
from llmos.data.readers.rows import TEXT, Numbered, RowReader
from llmos.errors import InvalidValue

PIECE_BYTES = 1 << 16
SAMPLE_UNITS = 1000
MAX_LANGUAGES = 64
MAX_DEPTH = 64  # of elements; codes with texts of their own inside are the deepest there are
CODES = ("bpt", "ept", "it", "ph", "ut")
Unit = tuple[int, dict[str, Any], str]


# -- TMX ---------------------------------------------------------------------------------------------------------------
@readers.register("tmx")
class TMX(RowReader):
    """Columns: `translation`, a text for every language of the file, and `id`. Numbers are those of the units."""

    name = "tmx"
    suffixes = (".tmx",)

    @property
    def columns(self) -> pa.Schema:
        return pa.schema([])

    def sniff(self, head: bytes) -> bool:
        return b"<tmx" in head[:2048]

    def schema(self, file: SourceFile, options: ReadOptions) -> pa.Schema:
        languages: dict[str, None] = {}
        for (_, row, _), _ in zip(until_damage(Units(file, options).rows()), range(SAMPLE_UNITS), strict=False):
            languages.update(dict.fromkeys(row["translation"]))
        if len(languages) > MAX_LANGUAGES:
            raise Unreadable(f"{file.path.name} has more than {MAX_LANGUAGES} languages.")
        fields = [pa.field(name, TEXT) for name in languages]
        return pa.schema([pa.field("id", TEXT), *([pa.field("translation", pa.struct(fields))] if fields else [])])

    def rows(self, file: SourceFile, options: ReadOptions) -> Iterator[Numbered]:
        known = self.schema(file, options)
        languages = {field.name for field in known.field("translation").type} if "translation" in known.names else set()
        for number, (line, row, wrong) in enumerate(Units(file, options).rows(), 1):
            unknown = set(row["translation"]) - languages
            new = f"the language {min(unknown)!r} is not among those of the first {SAMPLE_UNITS:,}" if unknown else ""
            yield Problem(row=number, message=f"{wrong or new}, in the unit of line {line}") if wrong or new else (number, row)


class Units:
    """The translation units of a TMX file, each with its line and what is wrong with it, or "". Codes of the format that the text had
    (bold on, bold off) are no text. (TMX 1.4b, https://www.gala-global.org/tmx-14b)"""

    def __init__(self, file: SourceFile, options: ReadOptions) -> None:
        self._file, self._most = file, options.max_row_bytes
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.EntityDeclHandler = self._entity
        self._ready: list[Unit] = []
        self._unit: dict[str, Any] | None = None
        self._language, self._held, self._size, self._line = "", [""], 0, 0
        self._inside, self._depth, self._codes, self._wrong, self._last = False, 0, 0, "", 0

    def rows(self) -> Iterator[Unit]:
        size = 0
        with self._file.open() as data:
            try:
                while piece := data.read(PIECE_BYTES):
                    size += len(piece)
                    self._parser.Parse(piece)
                    if size - self._last > self._most:
                        raise Unreadable(f"{self._file.path.name} has more than {self._most:,} bytes without a tag or a text.")
                    yield from self._ready
                    self._ready.clear()
                self._parser.Parse(b"", True)
            except expat.ExpatError as problem:
                yield from self._ready
                raise Unreadable(f"{self._file.path.name} is no sound XML: {problem}") from None
        yield from self._ready

    def _entity(self, name: str, *_: Any) -> None:
        raise Unreadable(f"{self._file.path.name} defines the XML entity {name!r}; that is not read.")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth, self._last = self._depth + 1, self._parser.CurrentByteIndex
        if self._depth > MAX_DEPTH:
            raise Unreadable(f"{self._file.path.name} has elements more than {MAX_DEPTH} deep.")
        if name == "tu":
            self._unit, self._line = {"id": attributes.get("tuid"), "translation": {}}, self._parser.CurrentLineNumber
            self._size, self._wrong = 0, ""
        elif name == "tuv":
            self._language = attributes.get("xml:lang") or attributes.get("lang") or ""
        elif name == "seg":
            self._held, self._inside = [], True
        self._codes += name in CODES

    def _text(self, text: str) -> None:
        self._last = self._parser.CurrentByteIndex
        if self._inside and not self._codes:
            self._size += len(text)
            if self._size > self._most:
                raise Unreadable(f"{self._file.path.name}: the unit in line {self._line} has more than {self._most:,} bytes.")
            self._held.append(text)

    def _end(self, name: str) -> None:
        self._depth, self._last = self._depth - 1, self._parser.CurrentByteIndex
        self._codes -= name in CODES
        if name == "seg" and self._unit is not None:
            self._take(self._unit["translation"])
            self._inside = False
        elif name == "tu" and self._unit is not None:
            wrong = self._wrong or ("" if self._unit["translation"] else "there is no text")
            self._ready.append((self._line, self._unit, wrong))
            self._unit = None

    def _take(self, texts: dict[str, str]) -> None:
        if not self._language:
            self._wrong = "a text has no language"
        elif self._language in texts:
            self._wrong = f"there are two texts in {self._language!r}"
        elif len(texts) == MAX_LANGUAGES:
            self._wrong = f"there are more than {MAX_LANGUAGES} languages"
        else:
            texts[self._language] = "".join(self._held).strip()


# -- Moses -------------------------------------------------------------------------------------------------------------
@readers.register("moses")
class Moses(RowReader):
    """Columns: `translation`, with the two languages as the endings of the names say."""

    name = "moses"
    suffixes = (".moses",)

    @property
    def columns(self) -> pa.Schema:
        return pa.schema([])

    def schema(self, file: SourceFile, options: ReadOptions) -> pa.Schema:
        first, second = pair(file, options)
        fields = [pa.field(_language(path), TEXT) for path in (first, second)]
        return pa.schema([pa.field("translation", pa.struct(fields))])

    def slices(self, file: SourceFile, options: ReadOptions) -> Iterator[Slice]:
        files = [replace(file, path=path) for path in pair(file, options)]
        counts = [_num_lines(one) for one in files]
        if counts[0] != counts[1]:
            names = " and ".join(f"{one.path.name} has {count:,} lines" for one, count in zip(files, counts, strict=True))
            raise Unreadable(f"{names}; which belong together cannot be known.")
        both = [whole(one) for one in files]
        key = hashlib.sha256("".join(one.key for one in both).encode()).hexdigest()
        yield replace(both[0], key=key, size_bytes=sum(one.size_bytes for one in both))

    def rows(self, file: SourceFile, options: ReadOptions) -> Iterator[Numbered]:
        paths = pair(file, options)
        names = [_language(path) for path in paths]
        first, second = (replace(file, path=path) for path in paths)
        with first.open() as one, second.open() as other:
            number = 0
            while True:
                number += 1
                lines = [data.readline(options.max_row_bytes + 1) for data in (one, other)]
                if not any(lines):
                    return
                if max(map(len, lines)) > options.max_row_bytes:
                    raise Unreadable(
                        f"Line {number} of {file.path.name} or its other half has more than {options.max_row_bytes:,} bytes."
                    )
                good = [as_utf8(line.removeprefix(BOM).rstrip(b"\r\n"), options.encoding) for line in lines]
                wrong = next((why for _, why in good if why), "")
                texts = [text.decode() for text, _ in good]
                if wrong:
                    yield Problem(row=number, message=wrong, raw=shown(lines[0]))
                else:
                    yield number, {"translation": dict(zip(names, texts, strict=True))}


def _language(path: Path) -> str:
    return sound_name(path).rpartition(".")[2]


def _num_lines(file: SourceFile) -> int:
    num, last = 0, b"\n"
    with file.open() as data:
        while piece := data.read(1 << 20):
            num, last = num + piece.count(b"\n"), piece[-1:]
    return num + (last != b"\n")


def pair(file: SourceFile, options: ReadOptions) -> tuple[Path, Path]:
    """The file and its other half, in the order of the translation. Raises InvalidValue when that is not clear."""
    language = _language(file.path)
    stem, ending = file.path.name.rpartition("." + language)[0], file.path.name.rpartition("." + language)[2]
    beside = {
        _language(path): path
        for path in sorted(file.path.parent.glob(escape(stem) + ".*" + ending))
        if "." not in path.name[len(stem) + 1 : len(path.name) - len(ending)]
    }
    asked = options.languages.split("-", 1) if options.languages else sorted(beside)
    if len(asked) != 2 or not set(asked) <= set(beside):
        raise InvalidValue(
            f"{file.path.name} has {len(beside) - 1} other halves beside it: {', '.join(sorted(set(beside) - {language})) or 'none'}.",
            param="read.languages",
            hint="Moses files are two of one name, corpus.en and corpus.fr; of more than two say which: read.languages: en-fr.",
        )
    if language != asked[0]:
        raise InvalidValue(
            f"{file.path.name} is the second half of its pair.", param="path", hint=f"Name the first: {beside[asked[0]].name}."
        )
    return beside[asked[0]], beside[asked[1]]
