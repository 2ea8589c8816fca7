"""Lines of a batch of texts, one row per line, for steps that look at lines; and how repeated elements are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

Ints = np.ndarray[Any, np.dtype[np.int64]]
BREAKS = "[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]"  # what ends a line beside \n (Unicode Standard, section 5.8, and C0 separators)


@dataclass(frozen=True, slots=True)
class Elements:
    """Parts of each text in order (lines, paragraphs). texts: of all; offsets: text i has those of offsets[i] to offsets[i + 1]."""

    texts: pl.Series
    offsets: Ints

    @property
    def counts(self) -> Ints:
        return np.diff(self.offsets)

    @property
    def owner(self) -> Ints:
        """int64[E], the text of each element."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)

    def sums(self, of_element: np.ndarray[Any, Any]) -> Ints:
        """Sum over the elements of each text."""
        running = np.concatenate([[0], np.cumsum(of_element)])
        found: Ints = running[self.offsets[1:]] - running[self.offsets[:-1]]
        return found

    def repeats(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """bool[E], whether an element is equal to an earlier one of its text."""
        if not len(self.texts):
            return np.zeros(0, dtype=bool)
        frame = pl.DataFrame({"owner": self.owner, "text": self.texts.hash(0)})
        first: np.ndarray[Any, np.dtype[np.bool_]] = (
            frame.select(pl.struct("owner", "text").is_first_distinct()).to_series().to_numpy()
        )
        return ~first


def unbroken(text: pl.Series) -> pl.Series:
    """All line ends as \\n."""
    if not text.str.contains(BREAKS).any():
        return text
    return text.str.replace_all("\r\n", "\n", literal=True).str.replace_all(BREAKS, "\n")


def elements(text: pl.Series, separator: str = "\n") -> Elements:
    """Split at a separator; a text without it is one element."""
    parts = text.str.split(separator)
    offsets = np.concatenate([[0], np.cumsum(parts.list.len().to_numpy())]).astype(np.int64)
    return Elements(parts.explode(empty_as_null=False), offsets)


def lines_of(text: pl.Series) -> Elements:
    """Lines without their ends; no empty one after the last line end."""
    return elements(unbroken(text).str.strip_suffix("\n"))


def joined(parts: pl.Series, owner: Ints, num: int, separator: str = "\n") -> pl.Series:
    """The texts of `num` owners out of their parts, in order; an owner without parts has ""."""
    frame = pl.DataFrame({"owner": owner, "part": parts})
    groups = frame.group_by("owner", maintain_order=True).agg(pl.col("part").str.join(separator))
    found = np.full(num, -1, dtype=np.int64)
    found[groups.get_column("owner").to_numpy()] = np.arange(groups.height)
    return groups.get_column("part").gather(pl.Series(found).replace(-1, None)).fill_null("")
