"""Lines and paragraphs that stand in several documents: menus, licences, headers, boilerplate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from llmos.data.base import Gatherer, Mapped, Rows, Sketches, TextConfig, Verdict, step
from llmos.data.lines import Elements, elements, joined, lines_of

_CUT = "_cut"
MAX_AT_ONCE = 1 << 24  # lines that are sorted at a time, 8 bytes each
Hashes = np.ndarray[Any, np.dtype[np.uint64]]


@step("line_dedup")
class LineDedup(Gatherer):
    """Removes every line that an earlier one is equal to, over all documents, keeping the first; a document of which nothing is left is
    dropped (as for paragraphs in CCNet, Wenzek et al. 2020, section 3.1: https://arxiv.org/abs/1911.00359). Case, digits and
    punctuation make no difference. Lines of fewer than `min_chars` characters stay."""

    class Config(TextConfig):
        unit: Literal["line", "paragraph"] = Field("line", description="Paragraphs are separated by blank lines.")
        min_chars: int = Field(20, ge=0, description="Shorter ones are common for good reasons.")
        max_copies: int = Field(1, ge=1, description="How many of equal ones stay, the first ones.")

    config: Config

    def sketch(self, rows: Rows) -> pl.DataFrame:
        found = self._units(rows)
        plain = (
            found.texts.str.to_lowercase()
            .str.replace_all(r"\p{Nd}", "0")
            .str.replace_all(r"[^\p{L}\p{M}0]+", " ")
            .str.strip_chars()
        )
        hashes = plain.hash(0)
        short = found.texts.str.len_chars() < self.config.min_chars
        frame = pl.DataFrame({"owner": found.owner, "hash": pl.select(pl.when(short).then(0).otherwise(hashes)).to_series()})
        grouped = frame.group_by("owner", maintain_order=True).agg("hash")
        lists = pl.DataFrame({"owner": np.arange(len(rows))}).join(grouped, on="owner", how="left", maintain_order="left")
        return lists.select(pl.col("hash").fill_null([]).cast(pl.List(pl.UInt64)).alias("units"))

    def _units(self, rows: Rows) -> Elements:
        if self.config.unit == "line":
            return rows.derived(lines_of, self.column)
        return rows.derived(paragraphs_of, self.column)

    def decide(self, sketches: Sketches) -> Iterator[Verdict]:
        counts = [one.list.len().to_numpy().astype(np.int64) for one in sketches.column("units")]
        ends = np.concatenate([[0], np.cumsum([int(one.sum()) for one in counts])])
        again = np.zeros(int(ends[-1]), dtype=bool)
        num_ranges = -(-int(ends[-1]) // MAX_AT_ONCE) or 1
        for number in range(num_ranges):  # lines by ranges of their hash, so that memory is bounded
            places, hashes = _in_range(sketches, ends, number, num_ranges)
            again[places[_later(hashes, self.config.max_copies)]] = True
        for part, role in enumerate(sketches.roles):
            if role:
                continue
            of_part = again[ends[part] : ends[part + 1]]
            cut = _grouped(of_part, counts[part])
            num_again = cut.list.sum().to_numpy() if len(cut) else np.zeros(0)
            nothing_left = (counts[part] > 0) & (num_again == counts[part])
            yield Verdict(
                keep=(~nothing_left).astype(np.int32), signal=f"repeated_{self.config.unit}s",
                value=num_again / np.maximum(counts[part], 1), threshold=1.0, columns={_CUT: cut},
            )  # fmt: skip

    def after(self, rows: Rows) -> Mapped:
        found = self._units(rows)
        cut = rows.frame.get_column(_CUT).explode(empty_as_null=False).to_numpy().astype(bool)
        kept = pl.Series(~cut)
        separator = "\n" if self.config.unit == "line" else "\n\n"
        text = joined(found.texts.filter(kept), found.owner[~cut], len(rows), separator)
        changed = found.sums(cut) > 0
        text = pl.select(pl.when(pl.Series(changed)).then(text).otherwise(rows.text(self.column))).to_series()
        return Mapped(columns={self.column: text}, measure=(f"repeated_{self.config.unit}s", found.sums(cut).astype(np.float64)))


def paragraphs_of(text: pl.Series) -> Elements:
    return elements(text.str.replace_all(r"\n\s*\n", "\x1e"), "\x1e")


def _in_range(sketches: Sketches, ends: np.ndarray[Any, Any], number: int, num: int) -> tuple[np.ndarray[Any, Any], Hashes]:
    """(places among all lines, hashes) of the lines whose hash is in this range; short lines (0) are in none."""
    width = (1 << 64) // num
    least, most = number * width, (number + 1) * width - 1 if number + 1 < num else (1 << 64) - 1
    places, hashes = [], []
    for part, units in enumerate(sketches.column("units")):
        flat = units.explode(empty_as_null=False).to_numpy() if ends[part + 1] > ends[part] else np.zeros(0, dtype=np.uint64)
        here = np.flatnonzero((flat != 0) & (flat >= np.uint64(least)) & (flat <= np.uint64(most)))
        places.append(here + ends[part])
        hashes.append(flat[here])
    return np.concatenate(places), np.concatenate(hashes)


def _later(hashes: Hashes, copies: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which are equal to at least `copies` earlier ones."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    found = np.zeros(len(hashes), dtype=bool)
    found[order[copies:]] = ordered[copies:] == ordered[:-copies]
    return found


def _grouped(flat: np.ndarray[Any, Any], counts: np.ndarray[Any, Any]) -> pl.Series:
    """Lists of these lengths."""
    import pyarrow as pa

    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    made = pl.from_arrow(pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat)))
    assert isinstance(made, pl.Series)
    return made
