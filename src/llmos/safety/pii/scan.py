"""Looks for all asked kinds in many texts at once.

Each detector's pattern runs over the whole column in Rust and gives candidates as strings; where they stand is found again in the
few texts that have some (the same pattern, anchored, decides between equal strings), and the detector checks them there.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from llmos.errors import InvalidValue
from llmos.safety.pii import (  # noqa: F401  - registers the kinds
    api_key,
    chinese_id,
    credit_card,
    email,
    iban,
    ip_address,
    jwt,
    mac_address,
    password,
    phone,
    private_key,
    url_credentials,
    us_ssn,
)
from llmos.safety.pii.base import Detector, Finding, Options, detectors, python, rust


def kinds() -> list[str]:
    """All kinds that can be looked for."""
    return detectors.names()


class Scanner:
    """Detectors of some kinds, ready. Raises NotFound for an unknown kind, MissingExtra for a library that one needs."""

    def __init__(self, wanted: Sequence[str] | None = None, options: Options | None = None) -> None:
        if wanted is not None and not wanted:
            raise InvalidValue("No kind of personal data is asked for.", param="kinds", hint=f"Kinds: {', '.join(kinds())}.")
        self.detectors: list[Detector] = [detectors.get(kind)(options or Options()) for kind in wanted or kinds()]
        self._compiled = [(one, rust(one.pattern), python(one.pattern)) for one in self.detectors]
        self._by_kind = {one.kind: one for one in self.detectors}

    def find(self, text: str) -> list[Finding]:
        """In order of their places, without overlap."""
        return self.find_all(pl.Series([text], dtype=pl.String))[0]

    def find_all(self, texts: pl.Series | Sequence[str]) -> list[list[Finding]]:
        """One list a text."""
        column = texts if isinstance(texts, pl.Series) else pl.Series(texts, dtype=pl.String)
        found: dict[int, list[Finding]] = {}
        for one, pattern, anchored in self._compiled:
            for row, text, candidates in _candidates(column, pattern):
                for start, end in _places(text, candidates, anchored):
                    finding = one.check(text, start, end)
                    if finding is not None:
                        found.setdefault(row, []).append(finding)
        ranks = {one.kind: one.rank for one in self.detectors}
        return [_apart(found[row], ranks) if row in found else [] for row in range(len(column))]

    def canonical(self, kind: str, value: str) -> str:
        return self._by_kind[kind].canonical(value)


def _candidates(column: pl.Series, pattern: str) -> Iterator[tuple[int, str, list[str]]]:
    """(row, its text, what matches in it) for the rows with a match."""
    has = column.str.contains(pattern)
    if not has.any():
        return
    rows = has.arg_true()
    texts = column.gather(rows)
    yield from zip(rows.to_list(), texts.to_list(), texts.str.extract_all(pattern).to_list(), strict=True)


def _places(text: str, candidates: Iterable[str], anchored: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Where the matches, which come in order, stand. An equal string that is part of something longer is passed over."""
    place = 0
    for candidate in candidates:
        at = text.find(candidate, place)
        while at >= 0:
            match = anchored.match(text, at)
            if match is not None and match.end() == at + len(candidate):
                yield at, match.end()
                place = match.end()
                break
            at = text.find(candidate, at + 1)


def _apart(findings: list[Finding], ranks: dict[str, int]) -> list[Finding]:
    """Of those that overlap the one of the lower rank, then the longer one."""
    kept: list[Finding] = []
    for one in sorted(findings, key=lambda each: (ranks[each.kind], each.start - each.end, each.start)):
        place = bisect_left(kept, one.start, key=lambda each: each.start)
        free = (place == 0 or kept[place - 1].end <= one.start) and (place == len(kept) or one.end <= kept[place].start)
        if free:
            kept.insert(place, one)
    return kept
