"""CSV, JSON, text, Parquet and Arrow files, sound and damaged."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmos.errors import InvalidValue
from tests.data.readers.reading import Reading, read

# -- JSON --------------------------------------------------------------------------------------------------------------
ROWS = [{"a": 1, "t": 'x"}]'}, {"a": 2, "t": "é\n"}]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2, ensure_ascii=False),
        "\ufeff" + json.dumps(ROWS),
        json.dumps({"version": "1", "data": ROWS, "more": {"data": [1, {"a": 5}]}}),
        "\n".join(json.dumps(row) for row in ROWS),
        "".join(json.dumps(row, indent=1) for row in ROWS),
    ],
)
def test_forms_of_json(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, "a.json", text)
    assert (found.rows, found.numbers, found.problems, found.failure) == (ROWS, [1, 2], [], "")


def test_the_key_of_the_rows_can_be_said(tmp_path: Path) -> None:
    assert read(tmp_path, "a.json", json.dumps({"data": [{"no": 1}], "items": ROWS}), rows_in="items").rows == ROWS
    assert read(tmp_path, "a.json", json.dumps({"items": ROWS})).rows == [{"items": ROWS}]


@pytest.mark.parametrize(
    ("text", "numbers", "told", "failure"),
    [
        ('[{"a": 1}, {"a": x}, {"a": 3}]', [1, 3], {2: "not JSON"}, ""),
        ('[{"a": 1}, 5, {"a": 3}]', [1, 3], {2: "rows are JSON objects"}, ""),
        ('[{"a": 1}, [2], {"a": 3}]', [1, 3], {2: "this is an array"}, ""),
        ('[{"a": 1}, {"a": 2', [1], {2: "the file ends inside of this row"}, ""),
        ('[{"a": 1}, {"a": 2}', [1, 2], {}, "it ends after row 2"),
        ('[{"a": 1}, {"a": 2]}', [1], {}, "a bracket is closed that was not opened, in row 2"),
        ("hello", [], {1: "rows are JSON objects"}, ""),
        ("", [], {}, ""),
        ("[" * 3000, [], {1: "an array"}, "brackets more than 1024 deep"),
    ],
)
def test_damaged_json(tmp_path: Path, text: str, numbers: list[int], told: dict[int, str], failure: str) -> None:
    found = read(tmp_path, "a.json", text)
    assert found.numbers == numbers
    assert {row: told.get(row, "?") in message for row, message in found.told.items() if row in told} == dict.fromkeys(told, True)
    assert failure in found.failure
    assert bool(failure) == bool(found.failure)


def test_json_larger_than_what_is_read_at_a_time(tmp_path: Path) -> None:
    rows = [{"n": n, "t": "ab\\" * (n % 50), "o": {"list": [{"x": n}]}} for n in range(40_000)]
    found = read(tmp_path, "a.json", json.dumps({"data": rows}), batch_bytes=100_000)
    assert found.rows == rows


# -- CSV ---------------------------------------------------------------------------------------------------------------
def test_csv(tmp_path: Path) -> None:
    found = read(tmp_path, "a.csv", 'n,t,x,b,zip\n1,x,0.5,true,007\n2,"y\nz",1,false,123\n\n3,"",-2e3,true,5\n,,,,\n')
    assert found.rows == [
        {"n": 1, "t": "x", "x": 0.5, "b": True, "zip": "007"},
        {"n": 2, "t": "y\nz", "x": 1.0, "b": False, "zip": "123"},
        {"n": 3, "t": "", "x": -2000.0, "b": True, "zip": "5"},
        dict.fromkeys(("n", "t", "x", "b", "zip")),
    ]
    assert found.numbers == [2, 3, 6, 7]


@pytest.mark.parametrize("batch_bytes", [1, 60, 1 << 20])
def test_damaged_csv(tmp_path: Path, batch_bytes: int) -> None:
    lines = [
        b"n,t",
        b"1,x",
        b"abc,y",
        b"2,z,q",
        b"3",
        b"9,caf\xe9",
        b'5,"two',
        b'lines"',
        b'6,"7"" nail"',
        *[b"7,k"] * 300,
        b'8,"open',
        b"9,end",
    ]
    found = read(tmp_path, "a.csv", b"\r\n".join(lines), batch_bytes=batch_bytes)
    assert found.numbers[:4] == [2, 7, 9, 10]
    assert found.rows[1:3] == [{"n": 5, "t": "two\r\nlines"}, {"n": 6, "t": '7" nail'}]
    assert found.numbers[-1] == 311
    assert list(found.told) == [3, 4, 5, 6, 310]
    assert "not a whole number" in found.told[3]
    assert found.told[4] == "3 values where the first line has 2"
    assert "0xe9" in found.told[6]
    assert "quote" in found.told[310]


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("a.csv", "n;t\n1;x\n", {}),
        ("a.tsv", "n\tt\n1\tx\n", {}),
        ("a.csv", "n^t\n1^x\n", {"delimiter": "^"}),
        ("a.csv", "n,t\n1,'x'\n", {"quote": "'"}),
    ],
)
def test_forms_of_csv(tmp_path: Path, name: str, text: str, options: dict[str, str]) -> None:
    assert read(tmp_path, name, text, **options).rows == [{"n": 1, "t": "x"}]


def test_csv_without_quotes_or_header(tmp_path: Path) -> None:
    assert read(tmp_path, "a.tsv", 'n\tt\n1\t"x\n2\ty\n', quote="").rows == [{"n": 1, "t": '"x'}, {"n": 2, "t": "y"}]
    assert read(tmp_path, "a.csv", "1,2\n", header=False).rows == [{"column_1": 1, "column_2": 2}]
    with pytest.raises(InvalidValue, match="two columns 'a'"):
        read(tmp_path, "a.csv", "a,a\n1,2\n")


# -- text --------------------------------------------------------------------------------------------------------------
def test_text(tmp_path: Path) -> None:
    data = b"one\r\n\ntwo\nthr\xe9e\nfour"
    lines = read(tmp_path, "a.txt", data)
    assert [row["text"] for row in lines.rows] == ["one", "", "two", "four"]
    assert (lines.numbers, list(lines.told)) == ([1, 2, 3, 5], [4])
    paragraphs = read(tmp_path, "a.txt", b"one\r\nuno\n\n\ntwo\n", text_unit="paragraph")
    assert (paragraphs.rows, paragraphs.numbers) == ([{"text": "one\nuno"}, {"text": "two"}], [1, 5])
    assert read(tmp_path, "a.txt", b"a\nb\n", text_unit="file").rows == [{"text": "a\nb\n"}]
    assert read(tmp_path, "a.txt", data, text_unit="file").told.keys() == {1}


# -- Arrow and Parquet -------------------------------------------------------------------------------------------------
TABLE = pa.table({"text": ["a", None, "c"] * 100, "n": list(range(300)), "tags": [["x"], [], None] * 100})


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_arrow(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("a.arrow" if kind == "file" else "a")
    make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with make(str(path), TABLE.schema) as out:
        out.write_table(TABLE, max_chunksize=50)
    found = Reading(path, slice_bytes=1, batch_bytes=100)
    assert (found.rows, found.numbers, found.format) == (TABLE.to_pylist(), list(range(1, 301)), "arrow")
    assert len(found.slices) == (6 if kind == "file" else 1)


@pytest.mark.parametrize("cut", [0.3, 0.7, 0.99])
def test_cut_tables_are_told(tmp_path: Path, cut: float) -> None:
    path = tmp_path / "a.arrows"
    with pa.ipc.new_stream(str(path), TABLE.schema) as out:
        out.write_table(TABLE, max_chunksize=50)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * cut)])
    found = Reading(path)
    assert "damaged" in found.failure or "not whole" in found.failure or len(found.rows) == 300


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path, row_group_size=100)
    found = Reading(path, slice_bytes=1)
    assert (found.rows, found.numbers, len(found.slices)) == (TABLE.to_pylist(), list(range(1, 301)), 3)


# -- compression -------------------------------------------------------------------------------------------------------
def _zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


@pytest.mark.parametrize(
    ("ending", "pack"), [(".gz", gzip.compress), (".zst", _zstd), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed(tmp_path: Path, ending: str, pack: object) -> None:
    assert callable(pack)
    parts = [b'{"a": %d, "t": "%s"}\n' % (n, b"ab" * (n % 40)) for n in range(3000)]
    data = pack(b"".join(parts[:1000])) + pack(b"".join(parts[1000:]))  # two members, as log rotation and pigz make them
    for name in ("a.jsonl" + ending, "nameless"):
        found = read(tmp_path, name, data)
        assert ([row["a"] for row in found.rows], found.format) == (list(range(3000)), "jsonl")
    cut = read(tmp_path, "a.jsonl" + ending, data[:-9], batch_bytes=5000)
    assert "damaged or cut" in cut.failure
    assert 0 < len(cut.rows) < 3001


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    one = gzip.compress(b" " * (1 << 24))
    found = read(tmp_path, "a.jsonl.gz", b'{"a": 1}\n'.join([b""]) + gzip.compress(b'{"a": 1}\n') + one * 40)
    assert "expands to more than 200 times" in found.failure
    assert found.rows == [{"a": 1}]


def test_unknown_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"format: arrow \| conll"):
        read(tmp_path, "a.xyz", b"\x00\x01")
    with pytest.raises(InvalidValue, match="Did you mean json or jsonl"):
        read(tmp_path, "a.jsonl", b"", asked="json1")
