"""Licence headers of source files."""

from __future__ import annotations

import re

import polars as pl

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step

_BLOCK = re.compile(r"/\*[^*]*\*+(?:[^/*][^*]*\*+)*/")
_LOOK = r"/\*|\A\n?(?://|#|--)|\A\n"


@step("remove_copyright")
class RemoveCopyright(Mapper):
    """Deletes the first /* */ comment when it says "copyright"; in a text without such a comment all lines of // # -- comments, and blank
    ones, that it begins with: most are licences. The rule is that of RedPajama's GitHub data
    (https://github.com/togethercomputer/RedPajama-Data). Data-Juicer: clean_copyright_mapper."""

    config: TextConfig
    Config = TextConfig

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        some = texts.str.contains(_LOOK).arg_true()
        if not len(some):
            return Mapped(columns={self.column: texts})
        bare = [_bare(one) for one in texts.gather(some).to_list()]
        return Mapped(columns={self.column: texts.clone().scatter(some, pl.Series(bare, dtype=pl.String))})


def _bare(text: str) -> str:
    block = _BLOCK.search(text)
    if block:
        return text[: block.start()] + text[block.end() :] if "copyright" in block[0].lower() else text
    lines = text.split("\n")
    first = next((place for place, line in enumerate(lines) if line and not line.startswith(("//", "#", "--"))), len(lines))
    return "\n".join(lines[first:])
