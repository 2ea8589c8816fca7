"""CoNLL, in and out: one token a line with its tag in the last column, a blank line after each sentence, tags B-PER I-PER O.

The format of the CoNLL-2003 shared task (Tjong Kim Sang and De Meulder 2003); I- after another tag, as its IOB1 has it, begins a span too,
and is B- when it is written. Columns are separated by spaces or tabs. Tokens of a text that came as CoNLL are kept in the item's `tokens`,
what stands between token and tag (part of speech, chunk) in its `columns`; -DOCSTART- lines are left out. Other texts are cut into words,
single CJK characters and signs, and cut again where a span begins or ends, so that no span is lost.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmos.data.annotate.base import Numbered, Row, Said
from llmos.errors import InvalidValue

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]")
_COLUMNS = re.compile(r"[ \t]+")  # no other white space: a no-break space may stand inside of a token
_BREAK = re.compile(r"[ \t\r\n]")
MAX_SENTENCE = 100_000  # lines


def rows_of_file(path: Path, annotator: str) -> Iterator[Numbered]:
    """Each sentence as an item, with its tags as the annotation of `annotator` where there are any; numbered by its first line."""
    lines: list[list[str]] = []
    problem: InvalidValue | None = None
    start, tagged = 0, False
    with path.open("rb") as file:
        for number, raw in enumerate(itertools.chain(file, [b""]), start=1):
            try:
                columns = _COLUMNS.split(raw.decode("utf-8-sig" if number == 1 else "utf-8").strip(" \t\r\n"))
            except UnicodeDecodeError as why:
                columns, problem = ["?"], problem or InvalidValue(f"Line {number} is not UTF-8: {why}.", param="file")
            if columns[0] and columns[0] != "-DOCSTART-":
                start, tagged = start or number, tagged or len(columns) > 1
                if len(lines) == MAX_SENTENCE:
                    said = f"The sentence from line {start} on has more than {MAX_SENTENCE:,} tokens."
                    problem = problem or InvalidValue(said, param="file")
                else:
                    lines.append(columns)
            elif lines:
                yield start, problem or _row(lines, annotator if tagged else "")
                lines, start, problem = [], 0, None


def _row(lines: list[list[str]], annotator: str) -> Row | InvalidValue:
    tokens = [columns[0] for columns in lines]
    said: tuple[Said, ...] = ()
    if annotator:
        try:
            tags = [columns[-1] if len(columns) > 1 else "O" for columns in lines]
            said = (Said(annotator=annotator, value={"spans": spans_of(tokens, tags)}),)
        except InvalidValue as problem:
            return problem
    between = [columns[1:-1] for columns in lines]
    more = {"columns": between} if any(between) else {}
    return Row(data={"text": " ".join(tokens), "tokens": tokens, **more}, annotations=said)


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
    """An item as lines, the blank one included. Raises InvalidValue for what CoNLL cannot hold."""
    spans = sorted(value["spans"], key=lambda span: span["start"])
    if any(after["start"] < before["end"] for before, after in itertools.pairwise(spans)):
        raise InvalidValue("Spans that overlap cannot be written as CoNLL.", param="format", hint="Export as label-studio.")
    spaced = next((span["label"] for span in spans if len(span["label"].split()) != 1), None)
    if spaced is not None:
        raise InvalidValue(f"The label {spaced!r} has a space in it; CoNLL has no place for that.", param="format")
    lines, written = [], [False] * len(spans)
    for start, end, between in _tokens(data, spans):
        at = next((place for place, one in enumerate(spans) if one["start"] <= start and end <= one["end"]), None)
        tag = "O" if at is None else ("I-" if written[at] else "B-") + spans[at]["label"]
        if at is not None:
            written[at] = True
        lines.append(" ".join([data["text"][start:end], *between, tag]) + "\n")
    if not all(written):
        lost = spans[written.index(False)]
        raise InvalidValue(
            f"The span {lost['start']}-{lost['end']} is white space only; CoNLL has no place for it.", param="format"
        )
    return "".join(lines) + "\n"


def _tokens(data: Mapping[str, Any], spans: list[dict[str, Any]]) -> Iterator[tuple[int, int, list[str]]]:
    """Start and end of the tokens, cut where spans begin and end, and their columns between token and tag."""
    text = data["text"]
    none: list[str] = []
    whole = [(*match.span(), none) for match in _TOKEN.finditer(text)]
    known, columns = _words(data.get("tokens")), data.get("columns")
    if known and " ".join(known) == text:
        there = (
            [_words(one) for one in columns] if isinstance(columns, list) and len(columns) == len(known) else [none] * len(known)
        )
        place, whole = 0, []
        for token, between in zip(known, there, strict=True):
            whole.append((place, place + len(token), between))
            place += len(token) + 1
    borders = sorted({border for span in spans for border in (span["start"], span["end"])})
    for start, end, between in whole:
        cuts = [start, *(border for border in borders if start < border < end), end]
        yield from ((first, last, between) for first, last in itertools.pairwise(cuts))


def _words(given: Any) -> list[str]:
    """Texts that can be tokens or columns, none of them with white space in it; else nothing."""
    fit = isinstance(given, list) and all(isinstance(one, str) and one and not _BREAK.search(one) for one in given)
    return list(given) if fit else []
