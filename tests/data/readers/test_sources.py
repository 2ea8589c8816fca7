"""Files of a recipe: found, recognised, bundled; what is damaged is in the ledger and the rest is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from llmos.data.readers.folders import local_files
from llmos.data.recipe import Recipe
from llmos.data.run import Run
from llmos.data.store import Datasets, Version
from llmos.errors import InvalidValue
from llmos.library.library import Library
from llmos.plugins import load_plugins
from llmos.settings import Settings

HEAD = "From: a@b.c\nTo: d@e.f\nSubject: {}\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\n{}\n"


def run(settings: Settings, **document: Any) -> tuple[Run, Version]:
    load_plugins()
    recipe = Recipe.build({"executor": "inline", **document})
    made = Run(recipe=recipe, datasets=Datasets(settings, Library.open(settings).database))
    return made, made.execute()


def mails(folder: Path, num: int) -> None:
    for n in range(num):
        kind = "spam" if n % 3 == 0 else "ham"
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / f"{n:05d}.7c53336b3700").write_text(HEAD.format(f"mail {n}", f"text {n}"))


def test_a_folder_of_small_files(settings: Settings, tmp_path: Path) -> None:
    """They are computed in bundles; each keeps its name; the folder is the label."""
    mails(tmp_path / "mails", 900)
    (tmp_path / "mails" / "ham" / "00001.7c53336b3700").write_bytes(b"\x00\x01 no mail at all")
    source = {"path": str(tmp_path / "mails"), "folder_column": "label"}
    made, version = run(settings, sources=[source])
    rows = version.scan().select("_id", "text", "subject", "label").collect()
    assert rows.height == 899
    assert rows.row(0) == ("ham/00002.7c53336b3700#1", "text 2\n", "mail 2", "ham")
    assert rows.group_by("label").len().sort("label").rows() == [("ham", 599), ("spam", 300)]
    assert 2 <= made.num_computed < 40
    errors = version.ledger().filter(pl.col("action") == "error").select("_id", "detail").collect().rows()
    assert [name for name, _ in errors] == ["ham/00001.7c53336b3700"]

    (tmp_path / "mails" / "ham" / "00400.7c53336b3700x").write_text(HEAD.format("new", "new"))
    again, _ = run(settings, sources=[source])
    assert again.num_computed == 1


def test_bad_input_ends_in_the_ledger(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(b'{"text": "a"}\n{bad\n{"text": "b", "late": [1]}\n{"text": "caf\xe9"}\n')
    (tmp_path / "in" / "b.jsonl").write_bytes(b"")
    (tmp_path / "in" / "c.jsonl.gz").write_bytes(b"\x1f\x8b\x08 no")
    (tmp_path / "in" / "d.csv").write_bytes(b"text,n\nx,1\ny,2,3\n")
    out = tmp_path / "out" / "rows.jsonl"
    made, version = run(settings, sources=[{"path": str(tmp_path / "in")}], sinks=[{"path": str(out), "ids": True}])
    assert [json.loads(line)["_id"] for line in out.read_text().splitlines()] == ["a.jsonl#1", "a.jsonl#3", "d.csv#2"]
    assert made.exports[0].num_rows == version.num_rows == 3
    told = version.ledger().filter(pl.col("action") == "error").select("_id").collect().get_column("_id").to_list()
    assert sorted(told) == ["a.jsonl#2", "a.jsonl#4", "c.jsonl.gz", "d.csv#3"]


def test_one_odd_header_among_many_files(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.csv").write_text("text,text\n1,2\n")
    with pytest.raises(InvalidValue, match=r"bad\.csv: There are two columns 'text'.*header: false"):
        run(settings, sources=[{"path": str(tmp_path / "in")}])
    (tmp_path / "in" / "good.csv").write_text("text\nx\n")
    _, version = run(settings, sources=[{"path": str(tmp_path / "in")}])
    assert version.num_rows == 1
    told = version.ledger().filter(pl.col("action") == "error").select("_id", "detail").collect().rows()
    assert told == [("bad.csv", "There are two columns 'text'. Is the first line no header? header: false")]


def test_lossless_from_json_to_json(settings: Settings, tmp_path: Path) -> None:
    """What the sampled columns do not know comes out again where it was."""
    rows: list[dict[str, Any]] = [{"text": f"t{n}", "meta": {"n": n}} for n in range(40_000)]
    rows[30_123] = {"text": "x", "meta": {"n": 1, "odd": {"y": [None, 2]}}, "rare": "z"}
    lines = [json.dumps(row | {"pad": "x" * 150}) for row in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    run(settings, sources=[{"path": str(tmp_path / "a.jsonl")}], sinks=[{"path": str(tmp_path / "b.jsonl.zst")}])
    with pa.input_stream(str(tmp_path / "b.jsonl.zst"), compression="zstd") as data:
        back = [json.loads(line) for line in data.read().splitlines()]
    assert [{key: value for key, value in row.items() if value is not None} for row in back] == [json.loads(line) for line in lines]


def saved(folder: Path, name: str, values: list[int]) -> None:
    """As Dataset.save_to_disk writes it."""
    folder.mkdir(parents=True)
    table = pa.table({"n": values})
    with pa.ipc.new_stream(str(folder / name), table.schema) as out:
        out.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}], "_split": folder.name}))
    (folder / "dataset_info.json").write_text("{}")


def test_saved_datasets(settings: Settings, tmp_path: Path) -> None:
    for split, values in (("train", [1, 2]), ("test", [3])):
        saved(tmp_path / "set" / split, "data-00000-of-00001.arrow", values)
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    _, version = run(settings, sources=[{"path": str(tmp_path / "set"), "split": "test"}])
    assert version.scan().collect().get_column("n").to_list() == [3]
    _, version = run(settings, sources=[{"path": str(tmp_path / "set" / "train")}])
    assert version.scan().collect().get_column("n").to_list() == [1, 2]


def test_splits_by_the_card_and_by_names(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    (folder / "data").mkdir(parents=True)
    for name in ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet", "odd.csv"):
        (folder / name).write_text("x")
    assert [label for _, label in local_files(str(folder), "validation")] == ["data/validation-00000-of-00001.parquet"]
    (folder / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files:\n  - split: dev\n    path: odd*\n---\n")
    assert [label for _, label in local_files(str(folder))] == ["odd.csv"]
