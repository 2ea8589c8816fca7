"""What is wrong with a file costs what it must and no more: one bad message, one odd line, one row that is too long."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from llmos.data.readers.base import ReadOptions, Unreadable
from llmos.data.readers.folders import local_files
from llmos.errors import InvalidValue
from tests.data.readers.reading import Reading, read


# -- lines -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("head", "numbers", "bad"), [(b"a\n", [1, 3], 2), (b"\n", [1, 3], 2), (b"", [2], 1), (b"a\nb\n", [1, 2, 4], 3)]
)
def test_a_long_line_behind_a_short_first_one(tmp_path: Path, head: bytes, numbers: list[int], bad: int) -> None:
    found = read(tmp_path, "a.txt", head + b"x" * 5000 + b"\nend\n", max_row_bytes=1000, batch_bytes=100)
    assert found.numbers == numbers
    assert found.told == {bad: "a row of 5,000 bytes; 1,000 are read (read.max_row_bytes)"}


@pytest.mark.parametrize("name", ["hex", "rot13", "no-such", "undefined"])
def test_what_is_no_encoding_of_text(name: str) -> None:
    with pytest.raises(ValidationError, match="there is no encoding"):
        ReadOptions(encoding=name)


def test_paragraphs_that_are_too_long_are_one_error_each(tmp_path: Path) -> None:
    found = read(tmp_path, "a.txt", b"one\n\n" + b"word\n" * 100 + b"\nlast\n", text_unit="paragraph", max_row_bytes=100)
    assert (found.rows, found.numbers) == ([{"text": "one"}, {"text": "last"}], [1, 104])
    assert found.told == {3: "a row of 400 bytes; 100 are read (read.max_row_bytes)"}


@pytest.mark.parametrize("unit", ["line", "paragraph", "file"])
def test_text_of_two_bytes_a_letter(tmp_path: Path, unit: str) -> None:
    found = read(tmp_path, "a.txt", "naïve 中文".encode("utf-16"), text_unit=unit)
    assert (found.rows, found.problems) == ([{"text": "naïve 中文"}], [])


# -- JSON lines --------------------------------------------------------------------------------------------------------
def test_columns_of_a_file_whose_encoding_is_guessed(tmp_path: Path) -> None:
    text = "数据平台读取各种格式的文件，并告诉用户哪些行有问题。今天天气很好，我们一起去公园散步吧。"
    rows = [{"text": text, "n": n} for n in range(3)]
    data = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode("gb18030")
    found = read(tmp_path, "a.jsonl", data, encoding="auto")
    assert (found.schema.names, found.rows) == (["text", "n"], rows)


def test_columns_where_samples_are_cut_inside_of_letters(tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("wb") as out:
        for n in range(5000):
            out.write(json.dumps({"text": "数" * (400 + n % 7)}, ensure_ascii=False).encode("gb18030") + b"\n")
    found = Reading(tmp_path / "a.jsonl", encoding="gb18030")
    assert (found.schema.names, len(found.rows), found.problems) == (["text"], 5000, [])


def test_columns_of_rows_that_are_larger_than_the_sample(tmp_path: Path) -> None:
    rows = [{"text": "x" * (5 << 20), "n": n} for n in range(3)]
    found = read(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert (found.schema.names, [row["n"] for row in found.rows]) == (["text", "n"], [0, 1, 2])


# -- JSON --------------------------------------------------------------------------------------------------------------
def test_an_object_without_the_rows_that_were_asked_for(tmp_path: Path) -> None:
    found = read(tmp_path, "a.json", json.dumps({"items": [{"a": 1}]}), rows_in="rows")
    assert (found.rows, found.told) == ([], {1: "the object has no array 'rows' (read.rows_in)"})


@pytest.mark.parametrize("size", range((1 << 20) - 12, (1 << 20) + 2))
def test_the_array_of_rows_at_the_end_of_a_piece(tmp_path: Path, size: int) -> None:
    head = '{"version": "%s", "data": ['
    text = head % ("x" * (size - len(head) + 2)) + '{"a": 1}, {"a": 2}]}'
    found = read(tmp_path, "a.json", text)
    assert (found.rows, found.problems) == ([{"a": 1}, {"a": 2}], [])


def test_a_quote_that_is_never_closed_is_not_held_without_end(tmp_path: Path) -> None:
    found = read(tmp_path, "a.json", '["' + "x" * (3 << 20), max_row_bytes=1 << 20)
    assert "a quote is missing" in found.failure


def test_escapes_take_no_memory(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read(tmp_path, "a.json", '[{"a": "' + "\\n" * (8 << 20) + '"}]')
    assert len(found.rows[0]["a"]) == 8 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10  # kilobytes


# -- CSV ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("batch_bytes", [10, 100, 1 << 20])
def test_a_long_record_is_told_wherever_blocks_end(tmp_path: Path, batch_bytes: int) -> None:
    found = read(tmp_path, "a.csv", "n,t\n1,x\n2," + "y" * 200 + "\n3,z\n", max_row_bytes=100, batch_bytes=batch_bytes)
    assert (found.numbers, list(found.told)) == ([2, 4], [3])
    assert "100 are read" in found.told[3]


# -- tables ------------------------------------------------------------------------------------------------------------
def test_parquet_with_texts_that_are_no_utf8(tmp_path: Path) -> None:
    sound = pa.array([b"good", b"caf\xe9"], pa.binary())
    broken = pa.StringArray.from_buffers(2, sound.buffers()[1], sound.buffers()[2])
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    found = Reading(tmp_path / "a.parquet")
    assert "UTF8" in found.failure
    assert found.rows == []


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_a_batch_that_becomes_too_large_is_not_made(tmp_path: Path, kind: str) -> None:
    """Some kilobytes, which are 1.2 GB; of texts that repeat themselves, with a dictionary, nothing is said."""
    table = pa.table({"n": pa.array(np.zeros(150_000_000, np.int64))})
    sound = pa.table({"text": ["ab" * 50] * 5000, "d": pa.array(["x", "y"] * 2500).dictionary_encode(), "l": [[1, 2]] * 5000})
    for name, one in (("bomb.arrows", table), ("sound.arrows", sound)):
        make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with make(str(tmp_path / name), one.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as out:
            out.write_table(one, max_chunksize=150_000_000)
    assert (tmp_path / "bomb.arrows").stat().st_size < 100_000
    with pytest.raises(Unreadable, match="record batch 0 expands to 1,200,000,000 bytes"):
        Reading(tmp_path / "bomb.arrows")
    assert len(Reading(tmp_path / "sound.arrows").rows) == 5000


@pytest.mark.parametrize("name", ["a.arrow", "a.parquet", "a.docx", "a.pdf", "a.jsonl.gz", "a.tmx"])
def test_empty_files_that_cannot_be_empty(tmp_path: Path, name: str) -> None:
    try:
        failure = read(tmp_path, name, b"").failure
    except Unreadable as problem:  # before anything is read of it
        failure = str(problem)
    assert failure


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.json", "a.jsonl", "a.conll", "a.mbox", "a.eml", "a.warc"])
def test_empty_files_without_rows(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, name, b"")
    assert (found.rows, found.problems, found.failure) == ([], [], "")


# -- CoNLL -------------------------------------------------------------------------------------------------------------
def test_a_word_that_is_a_hash_sign(tmp_path: Path) -> None:
    found = read(tmp_path, "a.conll", "# a comment\nI O\nlike O\n# O\nmusic O\n\n# newdoc\nNo O\n")
    assert [row["tokens"] for row in found.rows] == [["I", "like", "#", "music"], ["No"]]


def test_a_sentence_with_a_line_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, "a.conll", b"a X\nb X\n\nc X\ncaf\xe9 X\nd X\n\ne X\n")
    assert [row["tokens"] for row in found.rows] == [["a", "b"], ["e"]]
    assert list(found.told) == [5]
    assert found.told[5].endswith("its sentence is left out")


def test_a_file_without_sentence_ends_is_one_problem(tmp_path: Path) -> None:
    found = read(tmp_path, "a.conll", "a X\n" * 250_000 + "\nb X\n")
    assert ([row["tokens"] for row in found.rows], list(found.told)) == ([["b"]], [1])


def test_a_head_beyond_all_numbers(tmp_path: Path) -> None:
    found = read(tmp_path, "a.conllu", f"1\ta\t_\tX\t_\t_\t{'9' * 30}\t_\t_\t_\n\n1\tb\t_\tX\t_\t_\t0\t_\t_\t_\n")
    assert ([row["tokens"] for row in found.rows], list(found.told)) == ([["b"]], [1])


# -- documents and mail ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# C#\n", "C#"),
        ("# Heading ##\n", "Heading"),
        ("#\n\ntext", None),
        ('---\ntitle: "It\'s"\n---\n# Other', "It's"),
        ("---\nother: x\n---\n# Heading", "Heading"),
        ("---\ntitle:" + " " * 9000 + "\nx", None),
        ("# a" + " " * 200_000 + "b", "a" + " " * 200_000 + "b"),
    ],
)
def test_titles_of_markdown(tmp_path: Path, text: str, title: str | None) -> None:
    """The last two kept the earlier patterns busy for hours."""
    assert read(tmp_path, "a.md", text).rows[0]["title"] == title


FROM = b"From a@b.c Mon Jan  1 00:00:00 2024\n"


def test_one_bad_message_of_many(tmp_path: Path) -> None:
    picture = b"Subject: two\nContent-Type: text/html\n\n<html><body><img src=x></body></html>\n\n"
    long = b"Subject: three\n\n" + b"word\n" * 30_000 + b"\n"
    data = FROM + b"Subject: one\n\nx\n\n" + FROM + picture + FROM + long + FROM + b"Subject: four\n\ny\n"
    found = read(tmp_path, "a.mbox", data, max_row_bytes=100_000)
    assert ([row["subject"] for row in found.rows], found.failure) == (["one", "four"], "")
    assert list(found.told) == [6, 12]
    assert "no text" in found.told[6]
    assert found.told[12] == "a row of 150,017 bytes; 100,000 are read (read.max_row_bytes)"
    assert found.numbers == [1, data[: data.rindex(b"From ")].count(b"\n") + 1]


def test_squad_with_a_place_beyond_all_numbers(tmp_path: Path) -> None:
    asked = [{"question": "?", "answers": [{"text": "a", "answer_start": start}]} for start in (2**63, 0)]
    found = read(tmp_path, "a.json", json.dumps({"data": [{"paragraphs": [{"context": "a", "qas": asked}]}]}))
    assert (found.numbers, found.told) == ([2], {1: "an answer without its text or place"})


# -- translations ------------------------------------------------------------------------------------------------------
def tmx(*units: str) -> str:
    return f'<?xml version="1.0"?><tmx version="1.4"><header/><body>\n{"".join(f"<tu>{unit}</tu>" for unit in units)}</body></tmx>'


def text(language: str, said: str) -> str:
    return f'<tuv xml:lang="{language}"><seg>{said}</seg></tuv>'


def test_codes_in_a_translation_are_no_text(tmp_path: Path) -> None:
    coded = 'A <bpt i="1">&lt;b&gt;</bpt><hi>bold</hi><ept i="1">&lt;/b&gt;</ept> word<ph>{0}<sub>note</sub></ph>'
    assert read(tmp_path, "a.tmx", tmx(text("en", coded))).rows[0]["translation"] == {"en": "A bold word"}


def test_units_that_are_no_translation(tmp_path: Path) -> None:
    twice, nameless = text("en", "a") + text("en", "b"), "<tuv><seg>a</seg></tuv>"
    found = read(tmp_path, "a.tmx", tmx(text("en", "a"), twice, nameless, text("en", "c")))
    assert found.numbers == [1, 4]
    assert found.told == {
        2: "there are two texts in 'en', in the unit of line 2",
        3: "a text has no language, in the unit of line 2",
    }


@pytest.mark.parametrize(
    "inside",
    ["<tu><prop>" + "<x>" * 100_000, '<tu tuid="' + "x" * (3 << 20), "<!--" + "x" * (3 << 20)],
    ids=["deep", "id", "comment"],
)
def test_xml_that_is_never_whole_is_not_held(tmp_path: Path, inside: str) -> None:
    found = read(tmp_path, "a.tmx", tmx(text("en", "a")).removesuffix("</body></tmx>") + inside, max_row_bytes=1 << 20)
    assert "deep" in found.failure or "without a tag" in found.failure


# -- cards -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["''", "7", "[[a, b], [c]]", "[1]"])
def test_cards_that_list_no_paths(tmp_path: Path, path: str) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    (tmp_path / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {path}\n---\n"
    )
    with pytest.raises(InvalidValue, match="are no paths"):
        list(local_files(str(tmp_path)))
