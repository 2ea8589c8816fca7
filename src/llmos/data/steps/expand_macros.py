"""LaTeX macros that an author defined."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step

_COMMAND = re.compile(r"\\newcommand\b\*?\{(\\[a-zA-Z0-9]+?)\}\{(.*?)\}$", re.MULTILINE)
_DEF = re.compile(r"\\def\s*(\\[a-zA-Z0-9]+?)\s*\{(.*?)\}$", re.MULTILINE)
_SMALL = 100_000  # characters that any text may grow to


@step("expand_macros")
class ExpandMacros(Mapper):
    """Puts the value of each macro without arguments (`\\newcommand{\\x}{…}`, `\\def\\x{…}`, one on a line) where it is used, in its
    definition too; in the order of definitions, \\newcommand first. A text that would grow more than `max_growth` times is dropped:
    macros of macros can make gigabytes of a page. Data-Juicer: expand_macro_mapper."""

    class Config(TextConfig):
        max_growth: float = Field(10.0, ge=1, description="How many times longer a text of 10,000 characters or more may become.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        some = texts.str.contains(r"\\newcommand\b|\\def\b").arg_true()
        if not len(some):
            return Mapped(columns={self.column: texts})
        expanded = [_expanded(one, self.config.max_growth) for one in texts.gather(some).to_list()]
        drop = np.zeros(len(texts), dtype=bool)
        drop[some.to_numpy()] = [one is None for one in expanded]
        column = texts.clone().scatter(some, pl.Series([one or "" for one in expanded], dtype=pl.String))
        return Mapped(columns={self.column: column}, drop=drop, reason="growth", threshold=self.config.max_growth)


def _expanded(text: str, max_growth: float) -> str | None:
    """None when it would become too long."""
    most = max(_SMALL, int(len(text) * max_growth))
    macros = {found[1]: found[2] for kind in (_COMMAND, _DEF) for found in kind.finditer(text)}
    for name, value in macros.items():
        count = text.count(name)
        if len(text) + count * (len(value) - len(name)) > most:
            return None
        if count:
            text = re.sub(re.escape(name) + r"(?=[^a-zA-Z0-9])", lambda _, value=value: value, text)  # type: ignore[misc]
    return text
