"""Plain text: a row is a line, a paragraph (up to a blank line), or the file (`read.text_unit`). Its number is that of its first line.

Blank lines are rows when lines are, so that files that belong together line by line stay together.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from llmos.data.readers.base import Batch, Problem, Reader, ReadOptions, Slice, SourceFile, readers, whole
from llmos.data.readers.lines import BOM, Block, as_utf8, batch, block_as_utf8, blocks, line_slices, shown, too_long, wide_encoding
from llmos.data.readers.rows import TEXT, Numbered, all_bytes, batches

SCHEMA = pa.schema([pa.field("text", TEXT)])


class Text(Reader):
    name = "txt"
    suffixes = (".txt", ".text")

    def schema(self, file: SourceFile, options: ReadOptions) -> pa.Schema:
        return SCHEMA

    def slices(self, file: SourceFile, options: ReadOptions) -> Iterator[Slice]:
        if options.text_unit == "line":
            yield from line_slices(file, options)
        else:
            yield whole(file)

    def read(self, piece: Slice, schema: pa.Schema, options: ReadOptions) -> Iterator[Batch]:
        if options.text_unit == "line":
            for block in blocks(piece, options):
                yield _lines(block, schema, options)
        elif options.text_unit == "paragraph":
            yield from batches(_paragraphs(piece, options), schema, options)
        else:
            yield from batches(_file(piece.file, options), schema, options)


readers.add("txt", Text())


def _lines(block: Block, schema: pa.Schema, options: ReadOptions) -> Batch:
    texts, numbers, problems = decoded(block, options)
    columns = [pa.array(texts if field.name == "text" else [None] * len(texts), field.type) for field in schema]
    return batch(pa.Table.from_arrays(columns, schema=schema), numbers, problems)


def decoded(block: Block, options: ReadOptions) -> tuple[list[str], list[int], list[Problem]]:
    """The lines that are in their encoding, with their numbers, and what is wrong with the others."""
    if block.too_long:
        return [], [], [too_long(block.first, *block.too_long, options)]
    data = block_as_utf8(block.data, options.encoding)
    try:
        text = None if data is None else data.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if text is not None and len(block.data) <= options.max_row_bytes:
        texts = text.removesuffix("\n").replace("\r\n", "\n").removesuffix("\r").split("\n")
        return texts, list(range(block.first, block.first + len(texts))), []
    texts, numbers, problems = [], [], []
    for place, (start, end) in enumerate(zip(*block.bounds(), strict=True)):
        line, number = block.data[start:end], block.first + place
        good, why = as_utf8(line, options.encoding)
        if len(line) > options.max_row_bytes:
            problems.append(too_long(number, len(line), line, options))
        elif why:
            problems.append(Problem(row=number, message=why, raw=shown(line)))
        else:
            texts.append(good.decode())
            numbers.append(number)
    return texts, numbers, problems


def _paragraphs(piece: Slice, options: ReadOptions) -> Iterator[Numbered]:
    held: list[str] = []
    first, size = 0, 0
    for block in blocks(piece, options):
        texts, numbers, problems = decoded(block, options)
        yield from problems
        for number, line in zip(numbers, texts, strict=True):
            if line.strip():
                first, size = (number if not held else first), size + len(line)
                if not held or size <= options.max_row_bytes:  # of one that is too long the size is told, the text is not kept
                    held.append(line)
            elif held:
                yield _paragraph(held, first, size, options)
                held, size = [], 0
    if held:
        yield _paragraph(held, first, size, options)


def _paragraph(held: list[str], first: int, size: int, options: ReadOptions) -> Numbered:
    text = "\n".join(held)
    return too_long(first, size, text[:1000].encode(), options) if size > options.max_row_bytes else (first, {"text": text})


def _file(file: SourceFile, options: ReadOptions) -> Iterator[Numbered]:
    data, why = as_utf8(all_bytes(file, options).removeprefix(BOM), wide_encoding(file, options) or options.encoding)
    yield Problem(row=1, message=why, raw=shown(data)) if why else (1, {"text": data.decode().removeprefix("\ufeff")})
