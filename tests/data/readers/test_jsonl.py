"""JSON Lines: whatever is wrong with a line is told with its number, and the others are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.data.readers.jsontypes import Rows, schema_of
from tests.data.readers.reading import Reading, read

GOOD = b'{"text": "a", "n": 1}\n' * 3


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{bad", "not JSON"),
        (b'{"text": 5, "n": 1}', "text is a whole number, not text"),
        (b'{"text": "x", "n": true}', "n is true or false"),
        (b'{"text": "x", "n": NaN}', "not JSON"),
        (b'{"text": "x", "text": "y"}', "the key 'text' stands twice"),
        (b'{"text": "x", "z": {"a": 1, "a": 2}}', "the key 'a' stands twice"),
        (b'{"text": "caf\xe9"}', "not utf-8: byte 0xe9 at place 14"),
        (b'{"text": "a\x00b"}', "not JSON"),
        (b'{"text": "\\ud800"}', "not JSON"),
        (b'[1, 2]', "a list, not an object"),
        (b'"x"', "text, not an object"),
        (b'{"text": "x"}\r{"text": "y"}', "carriage returns"),
        (b'{"text": "x"}{"text": "y"}', "not JSON"),
        (b'{"z": ' + b"[" * 100_000, "not JSON"),
        (b'{"z": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON"),
        (b'{"text": "a line of many bytes"' + b" " * 5000 + b"}", "a row of 5,032 bytes; 4,000 are read"),
    ],
)  # fmt: skip
def test_a_bad_line(tmp_path: Path, line: bytes, why: str) -> None:
    found = read(tmp_path, "a.jsonl", GOOD + line + b"\n" + GOOD, max_row_bytes=4000 if len(line) < 100_000 else 1 << 25)
    assert found.numbers == [1, 2, 3, 5, 6, 7]
    assert list(found.told) == [4]
    assert why in found.told[4]


@pytest.mark.parametrize(
    ("data", "numbers"),
    [
        (b"", []),
        (b"\n\n  \n", []),
        (b'\xef\xbb\xbf{"text": "a"}\n', [1]),
        (b'{"text": "a"}\r\n\r\n{"text": "b"}\r\n', [1, 3]),
        (b'{"text": "a"}\n\n\t\n{"text": "b"}', [1, 4]),
        (b'  {"text": "a"}  \n{"text" : "b"}', [1, 2]),
        ('{"text": "é"}\n{"text": "b"}\n'.encode("utf-16"), [1, 2]),
    ],
)
def test_forms_of_files(tmp_path: Path, data: bytes, numbers: list[int]) -> None:
    found = read(tmp_path, "a.jsonl", data)
    assert (found.numbers, found.problems) == (numbers, [])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"n": 1.5}', "n is a decimal number, not a whole number as in the other rows"),
        (b'{"n": 1.0}', "n is a decimal number"),
        (b'{"n": 9223372036854775808}', "9223372036854775807"),
        (b'{"x": 1e999}', "not JSON"),
        (b'{"list": ["a", 2]}', "list[1] is a whole number, not text"),
        (b'{"list": "a"}', "list is text, not a list"),
        (b'{"o": {"k": "v"}}', "o.k is text, not a whole number"),
    ],
)
def test_types_are_strict(line: bytes, why: str) -> None:
    rows = Rows(schema_of([{"n": 1, "x": 0.5, "list": ["a"], "o": {"k": 1}}]))
    assert why in rows.careful(line)[2]


def test_a_cut_last_line(tmp_path: Path) -> None:
    found = read(tmp_path, "a.jsonl", GOOD + b'{"text": "a')
    assert (found.numbers, list(found.told)) == ([1, 2, 3], [4])


@pytest.mark.parametrize("batch_bytes", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize("slice_bytes", [1, 50, 1 << 20])
def test_cuts_change_nothing(tmp_path: Path, batch_bytes: int, slice_bytes: int) -> None:
    lines = [b'{"text": "%d", "n": %d}' % (n, n) for n in range(30)]
    lines[4], lines[9], lines[17] = b"{bad", b"", b'{"text": "e", "more": {"x": [1]}, "n": 3}' + b" " * 300
    data = b"\n".join(lines)
    whole = read(tmp_path, "a.jsonl", data, max_row_bytes=200)
    cut = read(tmp_path, "a.jsonl", data, max_row_bytes=200, batch_bytes=batch_bytes, slice_bytes=slice_bytes)
    assert (cut.numbers, cut.rows, cut.problems) == (whole.numbers, whole.rows, whole.problems)
    assert list(whole.told) == [5, 18]
    assert len(whole.numbers) == 27


def test_a_line_of_100_megabytes_is_read_past(tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("wb") as out:
        out.write(GOOD + b'{"text": "')
        for _ in range(100):
            out.write(b"x" * (1 << 20))
        out.write(b'"}\n' + GOOD)
    found = Reading(tmp_path / "a.jsonl")
    assert found.numbers == [1, 2, 3, 5, 6, 7]
    assert found.told == {4: "a row of 104,857,612 bytes; 33,554,432 are read (read.max_row_bytes)"}


def test_unknown_fields_go_into_extra(tmp_path: Path) -> None:
    """Columns come from a sample; a field, or a key inside of an object, that it did not show is not lost."""
    first = b'{"text": "a", "meta": {"x": 1}, "list": [{"k": 1}]}\n'
    late = b'{"text": "b", "meta": {"x": 2, "y": 3}, "list": [{"k": 1}, {"q": 2}], "z": "Z"}\n'
    rows = Rows(schema_of([json.loads(first)]))
    row, extra, why = rows.careful(late.strip())
    assert why == ""
    assert rows.table([row], [extra]).to_pylist() == [
        {"text": "b", "meta": {"x": 2}, "list": [{"k": 1}, {"k": None}], "_extra": '{"list":{"1":{"q":2}},"meta":{"y":3},"z":"Z"}'}
    ]


def test_large_whole_numbers(tmp_path: Path) -> None:
    found = read(tmp_path, "a.jsonl", b'{"h": 18446744073709551615, "t": 5}\n{"h": 1, "t": -9223372036854775808}\n')
    assert found.rows == [{"h": 18446744073709551615, "t": 5}, {"h": 1, "t": -9223372036854775808}]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "Les élèves étaient déjà là."),
        ("gb18030", "数据平台读取各种格式的文件，并告诉用户哪些行有问题。"),
        ("auto", "数据平台读取各种格式的文件，并告诉用户哪些行有问题。今天天气很好，我们一起去公园散步吧。"),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, text: str) -> None:
    known = "gb18030" if encoding == "auto" else encoding
    data = json.dumps({"text": text}, ensure_ascii=False).encode(known) + b'\n{"text": "plain"}\n'
    found = read(tmp_path, "a.jsonl", data, encoding=encoding)
    assert (found.rows, found.problems) == ([{"text": text}, {"text": "plain"}], [])
    assert list(read(tmp_path, "a.jsonl", data).told) == [1]


def test_a_type_that_changes_deep_in_the_file(tmp_path: Path) -> None:
    """The sample is taken all over a large file."""
    path = tmp_path / "a.jsonl"
    with path.open("wb") as out:
        for n in range(60_000):
            out.write(b'{"n": %s, "text": "%s"}\n' % (b"1" if n < 50_000 else b"1.5", b"x" * 90))
    found = Reading(path)
    assert (len(found.rows), found.problems) == (60_000, [])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.dictionaries(st.sampled_from("abc") | st.text(max_size=3), VALUES, max_size=4), max_size=8))
def test_every_row_is_read_or_told(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    """And cutting the file elsewhere, or writing white space into it, does not change what comes out."""
    folder = tmp_path_factory.mktemp("rows")
    dense = "\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    wide = "\n".join(json.dumps(row, separators=(" ,", " : "), ensure_ascii=False) for row in rows)
    whole = read(folder, "a.jsonl", dense)
    assert sorted([*whole.numbers, *whole.told]) == list(range(1, len(rows) + 1))
    for other in (read(folder, "a.jsonl", dense, batch_bytes=1), read(folder, "a.jsonl", wide.encode("utf-8", "surrogatepass"))):
        assert (other.numbers, other.rows, list(other.told)) == (whole.numbers, whole.rows, list(whole.told))
