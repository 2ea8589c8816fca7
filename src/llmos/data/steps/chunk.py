"""Long texts in pieces that a model can read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Self

import polars as pl
from pydantic import Field, model_validator

from llmos.data.base import Expander, Rows, TextConfig, Values, step
from llmos.data.steps.replace_content import checked
from llmos.data.steps.sentence_split import expanded
from llmos.data.tokenizers import tokenizer_of
from llmos.text.split import sentences, split_text

_CUT = "\x1f\ufdd0\x1f"  # U+FDD0 is no character: no text has it
Count = Callable[[list[str]], list[int]]


@step("chunk")
class Chunk(Expander):
    """Makes a row of every chunk; the other columns are copied. A chunk is as many whole sentences as fit into `max_len`; a sentence that
    does not fit is cut between clauses, words, characters (text/split.py), and the last sentences of a chunk, up to `overlap_len`, begin
    the next one.

    With `split_pattern` it is Data-Juicer's text_chunk_mapper (whose default is `\\n\\n`): cut at the last match that fits, the match
    itself goes; where none fits, cut at `max_len` with the overlap; without `max_len` cut at every match."""

    disk = ("tokenizer",)

    class Config(TextConfig):
        max_len: int | None = Field(None, ge=1, description="Length of a chunk in `unit`s.")
        overlap_len: int = Field(0, ge=0, description="What of a chunk the next one repeats, in `unit`s.")
        unit: Literal["chars", "tokens", "sentences"] = Field("chars", description="What length is counted in.")
        tokenizer: str = Field("", description="Model of the library, or path of a tokenizer.json, for `unit: tokens`.")
        split_pattern: str | None = Field(None, description="Where to cut, a regular expression; not set: between sentences.")

        @model_validator(mode="after")
        def _fits(self) -> Self:
            if self.max_len is None and self.split_pattern is None:
                raise ValueError("give max_len or split_pattern")
            if self.max_len is not None and self.overlap_len >= self.max_len:
                raise ValueError(f"overlap_len is {self.overlap_len}; it must be less than max_len, {self.max_len}")
            if (self.unit == "tokens") != bool(self.tokenizer):
                raise ValueError("tokenizer and unit: tokens belong together")
            if self.unit == "sentences" and self.split_pattern is not None:
                raise ValueError("unit: sentences has no split_pattern")
            return self

    tokenizers = ("tokenizer",)
    config: Config
    reason = "no chunks"

    def prepare(self) -> None:
        self._pattern = checked(self.config.split_pattern, "split_pattern") if self.config.split_pattern is not None else None
        self._count = self._counter()

    def _counter(self) -> Count:
        if self.config.unit == "chars":
            return lambda pieces: [len(one) for one in pieces]
        if self.config.unit == "sentences":
            return lambda pieces: [1] * len(pieces)
        tokenizer = tokenizer_of(self.config.tokenizer, self.context)
        return lambda pieces: [len(ids) for ids in tokenizer.encode_batch(pieces)]

    def expand(self, rows: Rows) -> tuple[pl.DataFrame, Values]:
        texts = rows.text(self.column)
        if self._pattern is None:
            pieces = [list(self._by_sentences(text)) for text in texts.to_list()]
        else:
            marked = texts.str.replace_all(self._pattern, f"{_CUT}${{0}}{_CUT}").to_list()
            pieces = [list(self._by_pattern(text.split(_CUT))) for text in marked]
        return expanded(rows, self.column, [[one for one in each if one.strip()] for each in pieces])

    def _by_sentences(self, text: str) -> Iterator[str]:
        most = self.config.max_len
        assert most is not None
        pieces: list[str] = []
        whole = sentences(text)
        for piece, size in zip(whole, self._count(whole), strict=True):
            pieces += [piece] if size <= most else split_text(piece, lambda one: self._count([one])[0], most)
        yield from packed(pieces, self._count(pieces), most, self.config.overlap_len)

    def _by_pattern(self, parts: list[str]) -> Iterator[str]:
        """parts: text, match, text, match, …, text."""
        most, held, cut = self.config.max_len, "", ""
        for place in range(0, len(parts), 2):
            joined = (held + cut if held else "") + parts[place]
            following = parts[place + 1] if place + 1 < len(parts) else ""
            if most is None or (held and self._size(joined + following) > most):
                yield held
                joined = parts[place]
            while most is not None and self._size(joined) > most:  # a piece that is too long by itself
                yield self._first(joined, most)
                joined = joined[len(self._first(joined, most - self.config.overlap_len)) :]
            held, cut = joined, following
        yield held

    def _size(self, text: str) -> int:
        return self._count([text])[0]

    def _first(self, text: str, most: int) -> str:
        if self.config.unit == "chars":
            return text[:most]
        return split_text(text, self._size, most)[0]


def packed(pieces: list[str], sizes: list[int], most: int, overlap: int) -> Iterator[str]:
    """Neighbours joined as long as their sizes add up to `most`; a chunk begins with the last pieces of the one before, up to `overlap`,
    as far as the next piece fits behind them."""
    start = 0
    while start < len(pieces):
        end, total = start + 1, sizes[start]
        while end < len(pieces) and total + sizes[end] <= most:
            total += sizes[end]
            end += 1
        yield "".join(pieces[start:end]).strip()
        if end == len(pieces):
            return
        start, repeated = end, 0
        while repeated + sizes[start - 1] <= min(overlap, most - sizes[end]):
            start -= 1
            repeated += sizes[start]
