"""Columns of JSON: what is empty everywhere, and objects with other keys in every row."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from llmos.data.readers.jsontypes import MAX_KEYS, Rows, schema_of
from tests.data.running import run


def test_what_is_always_empty_is_no_error(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "a", "history": [], "meta": {}, "nested": [[]]},
        {"text": "b", "history": None},
        {"text": "c", "meta": {}},
    ]
    made = run(tmp_path, rows, [])
    assert made.manifest["tally"]["errors"] == 0
    found = made.scan().collect()
    assert found["history"].to_list() == [[], None, None] and found["nested"].to_list() == [[[]], None, None]
    assert found.schema["history"] == pl.List(pl.String)
    assert [json.loads(one) if one else None for one in found["_extra"]] == [{"meta": {}}, None, {"meta": {}}]


def test_an_object_with_other_keys_in_every_row_is_no_column_each(tmp_path: Path) -> None:
    draw = random.Random(1)
    rows = [{"text": f"text {n}", "all": {"n": n}} | {f"k{draw.randrange(10**9)}": n for _ in range(300)} for n in range(20)]
    rows += [{"text": f"text {n}", "all": {"n": n, **{f"k{draw.randrange(10**9)}": n for _ in range(300)}}} for n in range(20, 40)]
    schema = schema_of(rows)
    assert len(schema) == MAX_KEYS and schema.field("all").type.num_fields == MAX_KEYS
    made = run(tmp_path, rows, ["text_length"]).scan().collect()
    assert made.height == 40 and made["all"].struct.field("n").to_list() == [*range(40)]
    for row, found in zip(rows, made.drop("_id").to_dicts(), strict=True):
        extra = json.loads(found.pop("_extra") or "{}")
        inside = {name: value for name, value in found.pop("all").items() if value is not None} | extra.pop("all", {})
        assert {name: value for name, value in found.items() if value is not None} | extra | {"all": inside} == row


def test_keys_are_counted_without_parsing() -> None:
    texts = ["", ":", ": a", "::", 'say "x": y', '":', "back\\slash", '\\":', "a: b", '": ":', "\\", ':":', 'é：":']
    for text in texts:
        for row in ({"text": text, "n": 1}, {"text": text, ":": text}, {"a:": text, "b": {"c": text}}, {"text": text}):
            for data in (orjson.dumps(row), json.dumps(row).encode()):
                keys = len(row) + sum(len(one) for one in row.values() if isinstance(one, dict))
                assert Rows.keys_in(data) == keys, data
    assert Rows.keys_in(b'{"a":1,"a":2}') == 2
    assert Rows.keys_in(b"") == Rows.keys_in(b'"') == 0
