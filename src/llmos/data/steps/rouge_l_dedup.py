"""Near duplicates of short texts, such as instructions, by their longest common subsequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from pydantic import Field

from llmos.data.base import ID, Gatherer, Rows, Sketches, TextConfig, Verdict, step
from llmos.data.recipe import Source
from llmos.data.synth.overlap import rouge_l, words


@step("rouge_l_dedup")
class RougeLDedup(Gatherer):
    """Keeps a text when its ROUGE-L (F1 over words, Lin 2004) with every text kept before is below the threshold; 0.7 is that of
    Self-Instruct (Wang et al. 2022). Every text is compared with all kept ones: for some ten thousand short texts. Larger sets are
    for minhash_dedup."""

    class Config(TextConfig):
        threshold: float = Field(0.7, gt=0, le=1, description="From this ROUGE-L on a text is not new.")
        against: tuple[str, ...] = Field((), description="Dataset versions: rows like one of theirs go too.")

    config: Config

    def reference(self) -> Sequence[Source]:
        return [Source(dataset=name) for name in self.config.against]

    def sketch(self, rows: Rows) -> pl.DataFrame:
        return pl.DataFrame({"id": rows.frame.get_column(ID), "text": rows.text(self.column)})

    def decide(self, sketches: Sketches) -> Iterator[Verdict]:
        kept: list[tuple[str, list[str], frozenset[str]]] = []
        verdicts: dict[int, Verdict] = {}
        for part in sorted(range(len(sketches.roles)), key=lambda number: (not sketches.roles[number], number)):
            frame = sketches.read(part)
            best, other = np.zeros(frame.height), dict[int, str]()
            for place, (name, text) in enumerate(frame.iter_rows()):
                own = words(text)
                best[place], near = self._nearest(own, kept)
                if best[place] < self.config.threshold or sketches.roles[part]:
                    kept.append((name, own, frozenset(own)))
                else:
                    other[place] = near
            keep = (best < self.config.threshold).astype(np.int32)
            verdicts[part] = Verdict(keep=keep, signal="rouge_l", value=best, threshold=self.config.threshold, other=other)
        yield from (verdicts[part] for part, role in enumerate(sketches.roles) if not role)

    def _nearest(self, own: list[str], kept: Sequence[tuple[str, list[str], frozenset[str]]]) -> tuple[float, str]:
        """The first that reaches the threshold, else what came nearest of those compared: length and common words bound ROUGE-L."""
        best, near, mine, least = 0.0, "", frozenset(own), self.config.threshold
        for name, other, theirs in kept:
            total = len(own) + len(other)
            if 2 * min(len(own), len(other)) < least * total or (len(mine) == len(own) and 2 * len(mine & theirs) < least * total):
                continue
            value = rouge_l(own, other)
            if value > best:
                best, near = value, name
            if best >= least:
                break
        return best, near
