"""CoNLL files: a word a line with its tags in columns, a blank line between sentences. A row is a sentence; its number is that of its
first line.

Two to four columns, white space between them, are the shared tasks of 2000 to 2003: word, (part of speech, (chunk,)) tag. Ten columns with
tabs are CoNLL-U (https://universaldependencies.org/format.html), whose universal part of speech becomes `tags`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from heapq import merge
from operator import itemgetter

import pyarrow as pa

from llmos.data.readers.base import Problem, ReadOptions, Slice, SourceFile, readers
from llmos.data.readers.lines import blocks, until_damage
from llmos.data.readers.rows import TEXT, TEXTS, Numbered, RowReader
from llmos.data.readers.text import decoded

Line = tuple[int, str]
NAMES = {1: ["tokens"], 2: ["tokens", "tags"], 3: ["tokens", "pos", "tags"], 4: ["tokens", "pos", "chunks", "tags"]}
FIELDS_U = ["ids", "tokens", "lemmas", "tags", "xpos", "feats", "heads", "deprels", "deps", "misc"]
MAX_WORDS = 100_000
MAX_DIGITS = 9  # of the number of a word


def _sentences(file: SourceFile, options: ReadOptions) -> Iterator[list[Line] | Problem]:
    """What a sentence lacks, it is left out for: words that cannot be read do not go missing in a row."""
    held: list[Line] = []
    spoilt = False
    for block in blocks(Slice(file=file, start=0, end=0, first_row=1, key="", size_bytes=0), options):
        texts, numbers, problems = decoded(block, options)
        good: Iterator[tuple[int, str | Problem]] = zip(numbers, texts, strict=True)
        bad: Iterator[tuple[int, str | Problem]] = ((one.row, one) for one in problems)
        for number, line in merge(good, bad, key=itemgetter(0)):
            if isinstance(line, Problem):
                yield replace(line, message=f"{line.message}; its sentence is left out")
                held, spoilt = [], True
            elif not line.strip():
                if held:
                    yield held
                held, spoilt = [], False
            elif not spoilt:
                held.append((number, line))
                if len(held) > MAX_WORDS:
                    yield Problem(row=held[0][0], message=f"a sentence of more than {MAX_WORDS:,} lines; it is left out")
                    held, spoilt = [], True
    if held:
        yield held


@readers.register("conll")
class CoNLL(RowReader):
    name = "conll"
    suffixes = (".conll", ".conll03", ".iob", ".iob2", ".bio")

    @property
    def columns(self) -> pa.Schema:
        return self._columns(2)

    def _columns(self, width: int) -> pa.Schema:
        return pa.schema([pa.field(name, TEXTS) for name in _names(width)])

    def schema(self, file: SourceFile, options: ReadOptions) -> pa.Schema:
        return self._columns(_width(file, options))

    def rows(self, file: SourceFile, options: ReadOptions) -> Iterator[Numbered]:
        width = _width(file, options)
        for found in _sentences(file, options):
            if isinstance(found, Problem):
                yield found
                continue
            lines = list(_without_marks(found, width))
            if lines:
                yield _tagged(lines, width)


def _without_marks(lines: list[Line], width: int) -> Iterator[Line]:
    """A comment stands before the first word of its sentence; after it a line like `# O` is a word, when it has all columns."""
    begun = False
    for number, line in lines:
        if not _mark(line) or (begun and line.startswith("#") and len(_split(line)) == width):
            begun = True
            yield number, line


def _mark(line: str) -> bool:
    """What separates documents, and comments."""
    return line.startswith(("-DOCSTART-", "# "))


def _names(width: int) -> list[str]:
    if width in NAMES:
        return NAMES[width]
    return ["tokens", *(f"column_{place}" for place in range(2, width)), "tags"]


def _width(file: SourceFile, options: ReadOptions) -> int:
    """Of the first sentence."""
    for found in until_damage(_sentences(file, options)):
        if isinstance(found, list):
            for _, line in found:
                if not _mark(line):
                    return len(_split(line))
    return 2


def _split(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else line.split()


def _tagged(lines: list[Line], width: int) -> Numbered:
    words = [(number, _split(line)) for number, line in lines]
    for number, word in words:
        if len(word) != width:
            return Problem(
                row=number,
                message=f"{len(word)} columns where the file begins with {width}; its sentence is left out",
                raw=lines[0][1][:200],
            )
    columns = zip(*(word for _, word in words), strict=True)
    return lines[0][0], dict(zip(_names(width), map(list, columns), strict=True))


@readers.register("conllu")
class CoNLLU(RowReader):
    """`comments` are the lines before the words as they stand; `ranges` those of multiword tokens and empty nodes."""

    name = "conllu"
    suffixes = (".conllu",)

    @property
    def columns(self) -> pa.Schema:
        lists = [pa.field(name, pa.large_list(pa.int64()) if name in ("ids", "heads") else TEXTS) for name in FIELDS_U]
        return pa.schema([pa.field("text", TEXT), *lists[1:], pa.field("comments", TEXTS), pa.field("ranges", TEXTS)])

    def rows(self, file: SourceFile, options: ReadOptions) -> Iterator[Numbered]:
        for found in _sentences(file, options):
            yield found if isinstance(found, Problem) else _parsed(found)


def _parsed(lines: list[Line]) -> Numbered:
    comments = [line for _, line in lines if line.startswith("#")]
    words, ranges = [], []
    for number, line in lines:
        if line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != len(FIELDS_U):
            return Problem(
                row=number, message=f"{len(fields)} columns, CoNLL-U has {len(FIELDS_U)}; its sentence is left out", raw=line[:200]
            )
        if not fields[0].isdecimal():
            ranges.append(line)
            continue
        if not ((fields[6].isdecimal() and len(fields[6]) <= MAX_DIGITS) or fields[6] == "_"):
            return Problem(row=number, message=f"the head {fields[6]!r} is no number; its sentence is left out", raw=line[:200])
        words.append(fields)
    columns: dict[str, list[str] | list[int | None]] = {
        name: [word[place] for word in words] for place, name in enumerate(FIELDS_U) if name not in ("ids", "heads")
    }
    heads = [int(word[6]) if word[6] != "_" else None for word in words]
    text = next((line.partition("=")[2].strip() for line in comments if line.startswith("# text =")), None)
    return lines[0][0], {"text": text, **columns, "heads": heads, "comments": comments, "ranges": ranges}
