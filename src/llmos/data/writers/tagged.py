"""CoNLL: a word a line. With the columns tokens, (pos, chunks,) tags it is the form of the shared tasks; with those that the CoNLL-U reader
gives, CoNLL-U."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

import polars as pl

from llmos.data.readers.conll import FIELDS_U
from llmos.data.writers.base import Columns, Notes, Writer, left_out, need, writers
from llmos.errors import InvalidValue

_RANGE = re.compile(r"([0-9]{1,9})([-.])[0-9]+\t")


@writers.register("conll")
class CoNLL(Writer):
    name = "conll"
    suffixes = (".conll", ".conll03", ".iob", ".iob2", ".bio")

    def check(self, columns: Columns) -> None:
        need(columns, {"tokens": "a list of words", "tags": "a list of labels"}, "CoNLL")

    def write(self, frames: Iterator[pl.DataFrame], columns: Columns, out: IO[bytes], notes: Notes) -> int:
        names = ["tokens", *(name for name in ("pos", "chunks") if name in columns), "tags"]
        if names == ["tokens", "chunks", "tags"]:
            names.remove("chunks")  # three columns are word, part of speech, tag
        left_out(columns, set(names), "CoNLL", notes)
        height = 0
        for frame in frames:
            for row in frame.select(names).iter_rows():
                height += 1
                lines = [_line([_word(value, height) for value in word], height) for word in zip(*_equal(row, height), strict=True)]
                out.write(("\n".join(lines) + "\n\n").encode())
        return height


def _line(columns: list[str], height: int) -> str:
    """A space after # would make a comment of it."""
    if columns[0].startswith("-DOCSTART-"):
        raise InvalidValue(f"Row {height:,} has the word {columns[0]!r}, which begins a document in CoNLL.", param="sinks")
    return ("\t" if columns[0] == "#" else " ").join(columns)


def _equal(columns: Sequence[Any], height: int) -> Sequence[Any]:
    sizes = {None if one is None else len(one) for one in columns}
    if len(sizes) != 1 or None in sizes or 0 in sizes:
        raise InvalidValue(f"Row {height:,} has no words, or not as many tags as words.", param="sinks")
    return columns


def _word(value: Any, height: int) -> str:
    text = str(value)
    if value is None or not text or any(letter.isspace() for letter in text):
        raise InvalidValue(
            f"Row {height:,} has the word or tag {value!r}; CoNLL cannot hold white space or nothing.",
            param="sinks",
            hint="Write jsonl.",
        )
    return text


@writers.register("conllu")
class CoNLLU(Writer):
    name = "conllu"
    suffixes = (".conllu",)

    def check(self, columns: Columns) -> None:
        need(columns, {"tokens": "a list of words", "tags": "a list of parts of speech"}, "CoNLL-U")

    def write(self, frames: Iterator[pl.DataFrame], columns: Columns, out: IO[bytes], notes: Notes) -> int:
        left_out(columns, {*FIELDS_U, "comments", "ranges", "text"}, "CoNLL-U", notes)
        height = 0
        for frame in frames:
            for row in frame.iter_rows(named=True):
                height += 1
                out.write(("\n".join(_sentence(row, height)) + "\n\n").encode())
        return height


def _sentence(row: dict[str, Any], height: int) -> Iterator[str]:
    given = [name for name in FIELDS_U[1:] if row.get(name) is not None]
    _equal([row[name] for name in given], height)
    comments = row.get("comments") or ([f"# text = {row['text']}"] if row.get("text") else [])
    yield from (_one_line(line, height) for line in comments)
    before, after = _ranges(row.get("ranges") or [], len(row["tokens"]), height)
    yield from after.get(0, ())
    for place in range(len(row["tokens"])):
        fields = [
            str(place + 1),
            *("_" if name not in given or row[name][place] is None else str(row[name][place]) for name in FIELDS_U[1:]),
        ]
        yield from before.get(place + 1, ())
        yield "\t".join(_one_line(field, height) for field in fields)
        yield from after.get(place + 1, ())


def _ranges(lines: Sequence[str], num_words: int, height: int) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Lines of multiword tokens (`1-2`) by the word they stand before, and of empty nodes (`1.1`) by the word they stand after."""
    before: dict[int, list[str]] = {}
    after: dict[int, list[str]] = {}
    for line in lines:
        found = _RANGE.match(line)
        if not found or int(found[1]) > num_words or "\n" in line or "\r" in line:
            raise InvalidValue(f"Row {height:,} has the range {line[:80]!r}, which belongs to none of its words.", param="sinks")
        (after if found[2] == "." else before).setdefault(int(found[1]), []).append(line)
    return before, after


def _one_line(text: str, height: int) -> str:
    if not text or "\t" in text or "\n" in text or "\r" in text:
        raise InvalidValue(f"Row {height:,} has the value {text!r}; CoNLL-U cannot hold tabs, line ends or nothing.", param="sinks")
    return text
