"""Search and replace."""

from __future__ import annotations

import re

import polars as pl
from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step
from llmos.errors import InvalidValue

_GROUP = re.compile(r"\\g<(\w+)>|\\(\d{1,2})|\\n|\\t|\\\\|\$")
_SINGLE = {"\\n": "\n", "\\t": "\t", "\\\\": "\\", "$": "$$"}


@step("replace_content")
class ReplaceContent(Mapper):
    """Replaces what matches each pattern by its replacement, one after the other; `.` matches line ends too. The engine is Rust's: linear
    time whatever the pattern, therefore no look-around and no back-reference. Data-Juicer: replace_content_mapper."""

    class Config(TextConfig):
        pattern: str | tuple[str, ...] = Field(description="Regular expressions, one or several.")
        repl: str | tuple[str, ...] = Field("", description="Replacement of each, or one for all; groups as \\1 or \\g<name>.")

    config: Config

    def prepare(self) -> None:
        given = self.config.pattern
        patterns = (given,) if isinstance(given, str) else given
        repl = self.config.repl
        repls = (repl,) * len(patterns) if isinstance(repl, str) else repl
        if len(repls) != len(patterns):
            raise InvalidValue(f"There are {len(patterns)} patterns and {len(repls)} replacements.", param="repl")
        self._pairs = [
            (checked(f"(?s){unwrapped(one)}", "pattern"), rust_replacement(to)) for one, to in zip(patterns, repls, strict=True)
        ]

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        for pattern, repl in self._pairs:
            texts = texts.str.replace_all(pattern, repl)
        return Mapped(columns={self.column: texts})


def unwrapped(pattern: str) -> str:
    """Recipes of Data-Juicer may write a pattern as r'…'."""
    wrapped = len(pattern) > 2 and pattern[:2] in ("r'", 'r"') and pattern[-1] == pattern[1]
    return pattern[2:-1] if wrapped else pattern


def checked(pattern: str, param: str) -> str:
    """The pattern when Rust's engine takes it. Raises InvalidValue with the engine's reason."""
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as problem:
        hint = (
            "Look-around and back-references are not supported."
            if "look-around" in str(problem) or "backref" in str(problem)
            else ""
        )
        raise InvalidValue(f"{pattern!r} is no pattern: {problem}", param=param, hint=hint) from None
    return pattern


def rust_replacement(repl: str) -> str:
    """A replacement in Python's spelling (\\1, \\g<name>) in Rust's (${1}, ${name})."""
    return _GROUP.sub(lambda found: f"${{{found[1] or found[2]}}}" if found[1] or found[2] else _SINGLE[found[0]], repl)
