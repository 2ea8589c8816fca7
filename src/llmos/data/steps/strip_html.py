"""Tags and entities out of a text."""

from __future__ import annotations

from typing import Any

import polars as pl
from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step
from llmos.errors import MissingExtra

# What an HTML parser does not take as text (WHATWG HTML 13.2.5).
_MARKUP = r"<[A-Za-z/!?]|&(?:#[0-9xX]|[A-Za-z][A-Za-z0-9]{1,30};|(?:amp|lt|gt|quot|nbsp|copy)\b)"
_BLOCKS = (
    "p,div,br,li,tr,h1,h2,h3,h4,h5,h6,blockquote,pre,section,article,header,footer,table,ul,ol,dl,dt,dd,hr,figure,form,nav"
    ",aside,main,title"
)
_INVISIBLE = ["script", "style", "noscript", "template"]


@step("strip_html")
class StripHtml(Mapper):
    """The text of an HTML fragment: tags go, entities are decoded, list items begin with `*`, blocks end a line, scripts and styles go.
    A text without markup is not touched. `blocks: false, scripts: true` is Data-Juicer's clean_html_mapper, which joins the words of
    neighbouring blocks and keeps the text of scripts."""

    class Config(TextConfig):
        blocks: bool = Field(True, description="A line ends where a block (p, div, tr, h1 …) does.")
        scripts: bool = Field(False, description="Keep the contents of script, style, noscript and template.")

    config: Config

    def prepare(self) -> None:
        try:
            from selectolax.lexbor import LexborHTMLParser
        except ImportError:
            raise MissingExtra("data", needed_for="The step strip_html") from None
        self._parser: Any = LexborHTMLParser

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        marked = texts.str.contains(_MARKUP).arg_true()
        if not len(marked):
            return Mapped(columns={self.column: texts})
        bare = [self._bare(one) for one in texts.gather(marked).to_list()]
        return Mapped(columns={self.column: texts.clone().scatter(marked, pl.Series(bare, dtype=pl.String))})

    def _bare(self, text: str) -> str:
        for tag, stand_in in (("<li>", "\n*"), ("</li>", ""), ("<ol>", "\n*"), ("</ol>", "")):
            if not self.config.blocks:
                text = text.replace(tag, stand_in)
        tree = self._parser(text)
        if not self.config.scripts:
            tree.strip_tags(_INVISIBLE)
        if self.config.blocks:
            _end_lines(tree)
        found: str = tree.text()
        return found


def _end_lines(tree: Any) -> None:
    """Writes line ends after blocks and stars before list items into the tree."""
    for node in tree.css("li"):
        node.insert_before("\n* ")
    for node in tree.css(_BLOCKS):
        node.insert_after("\n")
