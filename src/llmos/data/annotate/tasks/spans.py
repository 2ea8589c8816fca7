"""Parts of a text with a label each: named entities, arguments, errors. Places are counted in Unicode characters, end exclusive.

text    S m i t h   l i v e s …
start   0                        {"start": 0, "end": 5, "label": "PER"}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from pydantic import Field

from llmos.data.annotate.tasks.base import ProjectConfig, Strict, Task, by_type, known_label, quoted, studio_result, tasks
from llmos.data.annotate.tasks.classification import TextItem
from llmos.errors import InvalidValue


class Span(Strict):
    start: int = Field(ge=0)
    end: int = Field(ge=1)
    label: str


class Spans(Strict):
    spans: list[Span] = Field(max_length=100_000)


class SpanOptions(Strict):
    """overlapping: whether two spans may share characters."""

    overlapping: bool = False


def marked(value: Mapping[str, Any]) -> tuple[tuple[int, int, str], ...]:
    """Its spans as what can be compared and counted."""
    return tuple((span["start"], span["end"], span["label"]) for span in value["spans"])


@tasks.register("spans")
class SpanTask(Task):
    name = "spans"
    about = "Parts of a text, each with a label."
    level = "spans"
    needs_labels = 1
    Options = SpanOptions
    Item = TextItem
    Value = Spans

    def verify(self, value: Any, item: Any, config: ProjectConfig) -> None:
        """Also puts them in order."""
        length, seen = len(item["text"]), set()
        for place, span in enumerate(value.spans):
            where = f"value.spans[{place}]"
            known_label(span.label, config, f"{where}.label")
            if not span.start < span.end <= length:
                said = f"{where}: {span.start} to {span.end} is not inside of the text, which has {length} characters."
                raise InvalidValue(said, param=f"{where}.end" if span.end > length else f"{where}.start")
            if (span.start, span.end, span.label) in seen:
                raise InvalidValue(f"{where} is there twice.", param=where)
            seen.add((span.start, span.end, span.label))
        value.spans.sort(key=lambda span: (span.start, span.end, span.label))
        if not self.options(config).overlapping:
            for before, after in zip(value.spans, value.spans[1:], strict=False):
                if after.start < before.end:
                    said = f"The spans {before.start}-{before.end} and {after.start}-{after.end} overlap."
                    raise InvalidValue(said, param="value.spans", hint="Set config.options.overlapping to allow it.")

    def vote(self, value: Mapping[str, Any]) -> Hashable:
        return marked(value)

    def agreed(self, values: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """The spans that more than half of the annotators marked; None when they differ and there are only two."""
        if len(values) == 2 and self.differ(values):
            return None
        counted = Counter(span for value in values for span in marked(value))
        kept = sorted(span for span, times in counted.items() if 2 * times > len(values))
        return {"spans": [{"start": start, "end": end, "label": label} for start, end, label in kept]} if values else None

    def final(self, data: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
        return {**data, "spans": [{**span, "text": data["text"][span["start"] : span["end"]]} for span in value["spans"]]}

    def studio_tags(self, config: ProjectConfig) -> str:
        listed = "".join(f"<Label value={quoted(label.name)}/>" for label in config.labels)
        return f'<Labels name="label" toName="text">{listed}</Labels><Text name="text" value="$text"/>'

    def to_studio(self, value: Mapping[str, Any], data: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "id": f"s{place}",
                **studio_result(
                    "labels",
                    "label",
                    "text",
                    {
                        "start": span["start"],
                        "end": span["end"],
                        "text": data["text"][span["start"] : span["end"]],
                        "labels": [span["label"]],
                    },
                ),
            }
            for place, span in enumerate(value["spans"])
        ]

    def from_studio(self, result: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> dict[str, Any] | None:
        found = [
            {"start": value["start"], "end": value["end"], "label": label}
            for value in by_type(result, "labels")
            for label in value.get("labels", [])
        ]
        return {"spans": found}
