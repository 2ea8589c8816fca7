"""CoNLL, in and out: one token a line with its tag in the last column, a blank line after each sentence, tags B-PER I-PER O.

The format of the CoNLL-2003 shared task (Tjong Kim Sang and De Meulder 2003); I- after another tag, as its IOB1 has it, begins a span too.
Tokens of a text that came as CoNLL are kept in the item's `tokens`; other texts are cut into words, single CJK characters and signs, and
cut again where a span begins or ends, so that no span is lost.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmos.data.annotate.base import Numbered, Row
from llmos.errors import InvalidValue

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]")
MAX_SENTENCE = 100_000  # lines


def rows_of_file(path: Path, annotator: str) -> Iterator[Numbered]:
    """Each sentence as an item, with its tags as the annotation of `annotator` where there are any; numbered by its first line."""
    lines: list[tuple[str, str]] = []
    start = tagged = 0
    with path.open(encoding="utf-8-sig", errors="strict") as file:
        try:
            for number, line in enumerate(file, start=1):
                columns = line.split()
                if columns and not line.startswith("-DOCSTART-"):
                    start = start or number
                    tagged = max(tagged, len(columns))
                    lines.append((columns[0], columns[-1] if len(columns) > 1 else "O"))
                    if len(lines) > MAX_SENTENCE:
                        yield start, InvalidValue(f"The sentence from line {start} on has more than {MAX_SENTENCE:,} tokens.")
                        return
                elif lines:
                    yield start, _row(lines, annotator if tagged > 1 else "")
                    lines, start = [], 0
        except UnicodeDecodeError as problem:
            yield start or 1, InvalidValue(f"The file is not UTF-8: {problem}.", param="file")
            return
    if lines:
        yield start, _row(lines, annotator if tagged > 1 else "")


def _row(lines: list[tuple[str, str]], annotator: str) -> Row | InvalidValue:
    tokens = [token for token, _ in lines]
    said: tuple[tuple[str, dict[str, Any]], ...] = ()
    if annotator:
        try:
            said = ((annotator, {"spans": spans_of(tokens, [tag for _, tag in lines])}),)
        except InvalidValue as problem:
            return problem
    return Row(data={"text": " ".join(tokens), "tokens": tokens}, annotations=said)


def spans_of(tokens: list[str], tags: list[str]) -> list[dict[str, Any]]:
    """Spans over " ".join(tokens). Raises InvalidValue for a tag that is none."""
    spans: list[dict[str, Any]] = []
    place, before = 0, "O"
    for token, tag in zip(tokens, tags, strict=True):
        head, _, label = tag.partition("-")
        if tag != "O" and (head not in ("B", "I", "E", "S", "L", "U") or not label):
            raise InvalidValue(f"{tag!r} is no tag; O, B-LABEL and I-LABEL are.", param="tag")
        end = place + len(token)
        if tag != "O":
            if head in ("B", "S", "U") or before != label:
                spans.append({"start": place, "end": end, "label": label})
            else:
                spans[-1]["end"] = end
        before = "O" if tag == "O" or head in ("E", "S", "L", "U") else label
        place = end + 1
    return spans


def sentence_of(data: Mapping[str, Any], value: Mapping[str, Any]) -> str:
    """An item as lines, the blank one included. Raises InvalidValue where spans overlap."""
    spans = sorted(value["spans"], key=lambda span: span["start"])
    if any(after["start"] < before["end"] for before, after in itertools.pairwise(spans)):
        raise InvalidValue("Spans that overlap cannot be written as CoNLL.", param="format", hint="Export as label-studio.")
    spaced = next((span["label"] for span in spans if len(span["label"].split()) != 1), None)
    if spaced is not None:
        raise InvalidValue(f"The label {spaced!r} has a space in it; CoNLL has no place for that.", param="format")
    lines = []
    for start, end in _tokens(data, spans):
        span = next((one for one in spans if one["start"] <= start and end <= one["end"]), None)
        tag = "O" if span is None else ("B-" if span["start"] == start else "I-") + span["label"]
        lines.append(f"{data['text'][start:end]} {tag}\n")
    return "".join(lines) + "\n"


def _tokens(data: Mapping[str, Any], spans: list[dict[str, Any]]) -> Iterator[tuple[int, int]]:
    """Start and end of the tokens, cut where spans begin and end."""
    text = data["text"]
    known = data.get("tokens")
    whole = [match.span() for match in _TOKEN.finditer(text)]
    if isinstance(known, list) and " ".join(map(str, known)) == text:
        place, whole = 0, []
        for token in known:
            whole.append((place, place + len(token)))
            place += len(token) + 1
    borders = sorted({border for span in spans for border in (span["start"], span["end"])})
    for start, end in whole:
        cuts = [start, *(border for border in borders if start < border < end), end]
        yield from itertools.pairwise(cuts)
