"""Sentences that a text says twice."""

from __future__ import annotations

import re

import polars as pl
from pydantic import Field

from llmos.data.base import Mapped, Mapper, Rows, TextConfig, step

_SENTENCE = re.compile(r"[^.。！!？?…]*(?:[.。！!？?…]+[’”]?|$)")
_SPECIAL = re.compile(r"[^a-zA-Z0-9一-龥\t ]")


@step("remove_repeat_sentences")
class RemoveRepeatSentences(Mapper):
    """Keeps the first of equal sentences of a text. A sentence ends at . 。 ! ？ … and what closes a quote behind it, and at the end of a
    line. Data-Juicer: remove_repeat_sentences_mapper, same defaults."""

    class Config(TextConfig):
        lowercase: bool = Field(False, description="Upper and lower case make no difference.")
        ignore_special_character: bool = Field(True, description="Compare Han, Latin letters, digits and blanks only.")
        min_repeat_sentence_length: int = Field(2, ge=0, description="Characters, of those compared, below which a sentence stays.")

    config: Config

    def map(self, rows: Rows) -> Mapped:
        texts = rows.text(self.column)
        return Mapped(columns={self.column: pl.Series([self._once(one) for one in texts.to_list()], dtype=pl.String)})

    def _once(self, text: str) -> str:
        seen: set[str] = set()
        special, lower, least = self.config.ignore_special_character, self.config.lowercase, self.config.min_repeat_sentence_length
        lines, changed = [], False
        for line in text.split("\n"):
            kept = []
            for sentence in _SENTENCE.findall(line):
                plain = sentence.strip()
                plain = plain.lower() if lower else plain
                plain = _SPECIAL.sub("", plain) if special else plain
                if plain in seen:
                    changed = True
                    continue
                if len(plain) >= least:
                    seen.add(plain)
                kept.append(sentence)
            lines.append("".join(kept))
        return "\n".join(lines) if changed else text
