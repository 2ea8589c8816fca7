"""SQuAD files: questions about paragraphs with their answers, nested by article. A row is a question, with the columns of the flat form of
the data set (id, title, context, question, answers), so that both forms are read alike. Format of SQuAD 1.1 and 2.0, whose
`is_impossible` questions have no answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa

from llmos.data.readers.base import Problem, ReadOptions, SourceFile, Unreadable, readers
from llmos.data.readers.rows import TEXT, TEXTS, Numbered, RowReader

MAX_BYTES = 1 << 28  # it is in memory as a whole


@readers.register("squad")
class SQuAD(RowReader):
    name = "squad"
    suffixes = (".json",)

    @property
    def columns(self) -> pa.Schema:
        answers = pa.struct([pa.field("text", TEXTS), pa.field("answer_start", pa.large_list(pa.int64()))])
        texts = [pa.field(name, TEXT) for name in ("id", "title", "context", "question")]
        return pa.schema([*texts, pa.field("answers", answers), pa.field("is_impossible", pa.bool_())])

    def sniff(self, head: bytes) -> bool:
        return head.lstrip()[:1] == b"{" and all(word in head for word in (b'"data"', b'"paragraphs"', b'"context"'))

    def rows(self, file: SourceFile, options: ReadOptions) -> Iterator[Numbered]:
        with file.open() as data:
            source = data.read(MAX_BYTES + 1)
        if len(source) > MAX_BYTES:
            raise Unreadable(f"{file.path.name} has more than {MAX_BYTES:,} bytes.")
        try:
            plain = orjson.loads(source)
        except orjson.JSONDecodeError as problem:
            raise Unreadable(f"{file.path.name} is no JSON: {problem}") from None
        articles = plain.get("data") if isinstance(plain, dict) else None
        if not isinstance(articles, list):
            raise Unreadable(f"{file.path.name} is no SQuAD file: there is no array `data`.")
        number = 0
        for article in articles:
            for item in _questions(article):
                number += 1
                yield (number, item) if isinstance(item, dict) else Problem(row=number, message=item)


def _questions(article: Any) -> Iterator[dict[str, Any] | str]:
    """Rows, or what is wrong in words."""
    paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
    if not isinstance(paragraphs, list):
        yield "an article without paragraphs"
        return
    title = article.get("title")
    for paragraph in paragraphs:
        if (
            not isinstance(paragraph, dict)
            or not isinstance(paragraph.get("qas"), list)
            or not isinstance(paragraph.get("context"), str)
        ):
            yield "a paragraph without a context and questions"
            continue
        for question in paragraph["qas"]:
            yield _question(question, paragraph["context"], title if isinstance(title, str) else None)


def _question(asked: Any, context: str, title: str | None) -> dict[str, Any] | str:
    if not isinstance(asked, dict) or not isinstance(asked.get("question"), str):
        return "a question without its text"
    answers = asked.get("answers") or []
    sound = isinstance(answers, list) and all(
        isinstance(one, dict) and isinstance(one.get("text"), str) and _is_place(one.get("answer_start")) for one in answers
    )
    if not sound:
        return "an answer without its text or place"
    impossible = asked.get("is_impossible")
    name = asked.get("id")
    return {
        "id": None if name is None else str(name),
        "title": title,
        "context": context,
        "question": asked["question"],
        "answers": {"text": [one["text"] for one in answers], "answer_start": [one["answer_start"] for one in answers]},
        "is_impossible": impossible if isinstance(impossible, bool) else None,
    }


def _is_place(value: Any) -> bool:
    return type(value) is int and abs(value) <= MAX_BYTES
