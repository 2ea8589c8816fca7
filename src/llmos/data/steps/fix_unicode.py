"""Mojibake and other damage of encodings: "sÃ³" -> "só"."""

from __future__ import annotations

import re
from typing import Any, Literal

import polars as pl
from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step
from llmos.errors import MissingExtra

# Texts of these alone come out of ftfy as they went in: printable ASCII but &, Han, CJK punctuation but the wide space. "&" counts
# where it begins an entity; everything else is looked at.
_ENTITY = r"&#?[0-9A-Za-z]{1,24};"
_LOOK = r"[^\t\n -~、-〟㐀-䶿一-鿿]|" + _ENTITY

_VERBOSE = re.compile(r"(\[(?:\\.|[^\]\\])*\])|#[^\n]*|\s+|(\\.|.)", re.DOTALL)  # class | comment | blank | anything else


@step("fix_unicode")
class FixUnicode(Mapper):
    """Repairs text with ftfy (https://ftfy.readthedocs.io): wrong decoding, entities where there is no tag, terminal escapes, C1
    controls, ligatures, full-width forms, curly quotes, line ends, control characters; then the normal form.

    For Chinese text turn `fix_character_width` off: it also makes ，into a comma. Data-Juicer: fix_unicode_mapper, same defaults."""

    class Config(TextConfig):
        normalization: Literal["NFC", "NFKC", "NFD", "NFKD"] | None = Field("NFC", description="Unicode normal form of the result.")
        unescape_html: Literal["auto"] | bool = Field("auto", description="Decode entities; auto: in texts without a <.")
        fix_character_width: bool = Field(True, description="Full-width Latin letters and punctuation become normal ones.")
        uncurl_quotes: bool = Field(True, description="Curly quotes become straight ones.")

    config: Config

    def prepare(self) -> None:
        try:
            from ftfy import TextFixerConfig, chardata, fix_text
            from ftfy.badness import BADNESS_RE
        except ImportError:
            raise MissingExtra("data", needed_for="The step fix_unicode") from None
        config = self.config
        self._fix_text = fix_text
        self._bad = _unspaced(BADNESS_RE.pattern)
        self._ftfy: Any = TextFixerConfig(
            normalization=config.normalization, unescape_html=config.unescape_html, fix_character_width=config.fix_character_width,
            uncurl_quotes=config.uncurl_quotes, explain=False,
        )  # fmt: skip
        widths = chardata.WIDTH_MAP if config.fix_character_width else {}
        self._single = {chr(one): instead for one, instead in (chardata.LIGATURES | widths).items()}
        controls = re.escape("".join(chr(one) for one in chardata.CONTROL_CHARS))
        self._damaged = rf"[{controls}\r\x1b\x7f-\x9f\u2028\u2029]|{_ENTITY}"

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        odd = texts.str.contains(_LOOK).arg_true()
        if not len(odd):
            return Mapped(columns={self.column: texts})
        given = texts.gather(odd)
        where = (given.str.contains(self._damaged) | given.str.contains(self._bad)).arg_true()
        repaired = pl.Series([self._fix(one) for one in given.gather(where).to_list()], dtype=pl.String)
        fixed = self._undamaged(given).scatter(where, repaired)
        return Mapped(columns={self.column: texts.clone().scatter(odd, fixed)})

    def _undamaged(self, texts: pl.Series) -> pl.Series:
        """What ftfy does to a text that has nothing to repair."""
        texts = texts.str.replace_many(self._single)
        if self.config.uncurl_quotes:
            texts = texts.str.replace_all("[\u02bc\u2018-\u201b]", "'").str.replace_all("[\u201c-\u201f]", '"')
        return texts.str.normalize(self.config.normalization) if self.config.normalization else texts

    def _fix(self, text: str) -> str:
        fixed: str = self._fix_text(text, self._ftfy)
        return fixed


def _unspaced(pattern: str) -> str:
    """A verbose pattern of Python without blanks and comments, as Rust's engine takes it; ftfy's test of a whole batch then costs a
    hundredth of Python's."""

    def part(found: re.Match[str]) -> str:
        inside: str | None = found[1]
        return "[" + inside[1:].replace("[", r"\[") if inside else found[2] or ""

    return _VERBOSE.sub(part, pattern)
