"""Share of comments in source code: none is often generated or minified, nearly nothing else is a licence or dead code."""

from __future__ import annotations

from typing import Literal

import polars as pl
from pydantic import Field

from llmos.data.base import Rows, Values, step
from llmos.data.steps.ranged import Ranged, RatioConfig

# Text in quotes that looks like a comment counts as one: a parser per language would be slower by far and change the share by little.
COMMENTS = {
    "hash": r"(?m)(?:^|[ \t])#[^\n]*",  # Python, shell, Ruby, R, YAML
    "slash": r"(?s)/\*.*?\*/|(?m)(?:^|[\s;{}()])//[^\n]*",  # C, C++, Java, JavaScript, Go, Rust
    "dash": r"(?m)(?:^|[ \t;])--[^\n]*",  # SQL, Lua, Haskell
}


@step("comment_ratio")
class CommentRatio(Ranged):
    """Keeps source code whose share of characters in comments is in range. Defaults: 0.01 to 0.8, SantaCoder (Ben Allal et al. 2023,
    arXiv:2301.03988). Python's documentation strings are no comments here."""

    class Config(RatioConfig):
        style: Literal["hash", "slash", "dash"] = Field(description="How a comment begins: # or // and /* */ or --.")
        min_ratio: float = Field(0.01, ge=0, description="The lowest share that is kept.")
        max_ratio: float = Field(0.8, ge=0, description="The highest share that is kept.")

    config: Config
    signal = "comment_ratio"

    def measure(self, rows: Rows) -> Values:
        text = rows.text(self.column)
        length = text.str.len_chars()
        code = text.str.replace_all(COMMENTS[self.config.style], "").str.len_chars()
        return (length - code).cast(pl.Float64) / length.clip(1)
