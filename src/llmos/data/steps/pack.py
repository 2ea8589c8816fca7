"""Packing token sequences to one length, so that training does not compute padding."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from llmos.data.base import Regrouped, Regrouper, StepConfig, step
from llmos.errors import InvalidValue

Span = tuple[int, int, int]  # row, start, end: a piece of a row's tokens


@step("pack")
class Pack(Regrouper):
    """Makes sequences of at most `length` tokens out of `input_ids`. best_fit: every text goes whole into the sequence with the least room
    that takes it, longest first, and only texts longer than a sequence are cut (Ding et al. 2024, "Fewer Truncations Improve Language
    Modeling", https://arxiv.org/abs/2404.10830); concat: texts one after the other, cut where a sequence is full (GPT-3). Texts of
    different parts (`read.slice_bytes` of input) are not packed together. New columns: input_ids, `lengths` of the texts in it, for
    attention that stops at their borders."""

    class Config(StepConfig):
        length: int = Field(2048, ge=1, description="Tokens of a sequence.")
        method: Literal["best_fit", "concat"] = "best_fit"
        column: str = Field("input_ids", description="Lists of token ids, as `tokenize` makes them.")
        drop_last: bool = Field(False, description="concat: gives up the tokens that do not fill the last sequence.")

    config: Config

    def regroup(self, frame: pl.DataFrame) -> Regrouped:
        column = self.config.column
        kind = frame.schema.get(column)
        if not isinstance(kind, pl.List) or not (kind.inner.is_integer() or kind.inner == pl.Null):
            raise InvalidValue(
                f"The rows have no lists of token ids in {column!r}.", param="column", hint="Put the step tokenize before it."
            )
        flat = frame.get_column(column).explode(empty_as_null=False).to_numpy().astype(np.int32)
        counts = frame.get_column(column).list.len().fill_null(0).to_numpy().astype(np.int64)
        ends = np.concatenate([[0], np.cumsum(counts)])
        spans, packs = self._concat(counts) if self.config.method == "concat" else best_fit(counts, self.config.length)
        bins: list[list[Span]] = [[] for _ in range(max(packs, default=-1) + 1)]
        for span, number in zip(spans, packs, strict=True):
            bins[number].append(span)
        ordered = sorted(sorted(one) for one in bins if one)
        went = np.full(frame.height, -1, dtype=np.int64)
        for number in range(len(ordered) - 1, -1, -1):
            went[[row for row, _, _ in ordered[number]]] = number
        ids = [np.concatenate([flat[ends[row] + start : ends[row] + end] for row, start, end in one]) for one in ordered]
        lengths = [[end - start for _, start, end in one] for one in ordered]
        made = {"input_ids": pl.Series(ids, dtype=pl.List(pl.Int32)), "lengths": pl.Series(lengths, dtype=pl.List(pl.Int32))}
        return Regrouped(pl.DataFrame(made), np.array([one[0][0] for one in ordered], dtype=np.int64), went)

    def _concat(self, counts: Any) -> tuple[list[Span], list[int]]:
        length, at = self.config.length, 0
        spans, packs = [], []
        for row, count in enumerate(counts.tolist()):
            start = 0
            while start < count:
                end = min(count, start + length - at % length)
                spans.append((row, start, end))
                packs.append(at // length)
                at, start = at + end - start, end
        if self.config.drop_last and at % length:
            full = [number for number, pack in enumerate(packs) if pack < at // length]
            spans, packs = [spans[number] for number in full], [packs[number] for number in full]
        return spans, packs


def best_fit(counts: Any, length: int) -> tuple[list[Span], list[int]]:
    """Pieces (row, start, end) and the sequence each goes into: best fit decreasing. room[n] holds sequences with n free tokens."""
    spans = [
        (row, start, min(start + length, count)) for row, count in enumerate(counts.tolist()) for start in range(0, count, length)
    ]
    order = sorted(range(len(spans)), key=lambda number: (spans[number][1] - spans[number][2], number))
    room: list[list[int]] = [[] for _ in range(length + 1)]
    packs, num, free = [0] * len(spans), 0, _Free(length)
    for number in order:
        size = spans[number][2] - spans[number][1]
        fits = free.at_least(size)
        if fits > length:
            pack, left, num = num, length, num + 1
        else:
            pack, left = room[fits].pop(), fits
            free.set(fits, bool(room[fits]))
        packs[number] = pack
        room[left - size].append(pack)
        free.set(left - size, True)
    return spans, packs


class _Free:
    """Which amounts of free room there are; the least one that is enough in O(log length) (a tree of ors)."""

    def __init__(self, length: int) -> None:
        self.size = 1 << (length + 1).bit_length()
        self.tree = [False] * (2 * self.size)
        self.length = length

    def set(self, amount: int, there: bool) -> None:
        place = amount + self.size
        self.tree[place] = there
        while place > 1:
            place //= 2
            self.tree[place] = self.tree[2 * place] or self.tree[2 * place + 1]

    def at_least(self, amount: int) -> int:
        """length + 1 when there is none."""
        place = amount + self.size
        if self.tree[place]:
            return amount
        while place > 1:
            if place % 2 == 0 and self.tree[place + 1]:
                place += 1
                while place < self.size:
                    place = 2 * place if self.tree[2 * place] else 2 * place + 1
                return place - self.size
            place //= 2
        return self.length + 1
