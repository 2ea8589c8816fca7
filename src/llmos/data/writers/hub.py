"""A folder in the layout of Hugging Face datasets: Parquet files numbered by split, and a card that says what is in them.

    README.md                            YAML: features, splits with counts, which files are which split
    data/train-00000-of-00002.parquet

Rows go to the split that a column `split` says, else to train. https://huggingface.co/docs/datasets/repository_structure
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from llmos.data.writers.base import Columns, FolderWriter, Notes, writers
from llmos.data.writers.tables import parquet_writer
from llmos.errors import InvalidValue

SHARD_BYTES = 512 << 20  # in memory, before compression
MAX_SPLITS = 16


@writers.register("huggingface")
class HuggingFace(FolderWriter):
    name = "huggingface"

    def write(self, frames: Iterator[pl.DataFrame], columns: Columns, folder: Path, notes: Notes) -> int:
        by_column = columns.get("split") == pl.String
        kept = {name: kind for name, kind in columns.items() if not (by_column and name == "split")}
        (folder / "data").mkdir()
        shards: dict[str, list[_Shard]] = {}
        heights: Counter[str] = Counter()
        try:
            for frame in frames:
                for split, rows in _by_split(frame, by_column):
                    heights[split] += rows.height
                    _shard(shards, split, folder / "data", kept).write(rows.select(list(kept)))
        finally:
            for shard in (one for each in shards.values() for one in each):
                shard.close()
        if not shards:
            heights["train"] = 0
            _shard(shards, "train", folder / "data", kept).close()
        for split, each in shards.items():
            for number, shard in enumerate(each):
                shard.path.rename(folder / "data" / f"{split}-{number:05d}-of-{len(each):05d}.parquet")
        (folder / "README.md").write_text(_card(kept, heights, folder), encoding="utf-8")
        return heights.total()


class _Shard:
    def __init__(self, path: Path, columns: Columns) -> None:
        self.path, self.size = path, 0
        self._out = path.open("wb")
        self._writer = parquet_writer(columns, self._out)

    def write(self, frame: pl.DataFrame) -> None:
        self._writer.write_table(frame.to_arrow().cast(self._writer.schema))
        self.size += int(frame.estimated_size())

    def close(self) -> None:
        if not self._out.closed:
            self._writer.close()
            self._out.close()


def _shard(shards: dict[str, list[_Shard]], split: str, folder: Path, columns: Columns) -> _Shard:
    """The one that is written to; a new one when it is full."""
    each = shards.setdefault(split, [])
    if len(shards) > MAX_SPLITS:
        raise InvalidValue(f"The column 'split' has more than {MAX_SPLITS} values.", param="sinks")
    if not each or each[-1].size >= SHARD_BYTES:
        if each:
            each[-1].close()
        each.append(_Shard(folder / f".{split}-{len(each)}", columns))
    return each[-1]


def _by_split(frame: pl.DataFrame, by_column: bool) -> Iterator[tuple[str, pl.DataFrame]]:
    if not by_column:
        yield "train", frame
        return
    for (split,), rows in frame.partition_by("split", maintain_order=True, as_dict=True).items():
        name = "train" if split is None else split
        if not re.fullmatch(r"\w+(\.\w+)*", name):  # as the datasets library wants names of splits
            raise InvalidValue(f"{split!r} is no name of a split.", param="sinks", hint="Letters, digits, _ and dots.")
        yield name, rows


def _card(columns: Columns, heights: Counter[str], folder: Path) -> str:
    sizes = {split: sum(file.stat().st_size for file in (folder / "data").glob(f"{split}-*.parquet")) for split in heights}
    info = {
        "features": [{"name": name, **feature(kind)} for name, kind in columns.items()],
        "splits": [{"name": split, "num_bytes": sizes[split], "num_examples": height} for split, height in heights.items()],
        "download_size": sum(sizes.values()),
        "dataset_size": sum(sizes.values()),
    }
    files = [{"split": split, "path": f"data/{split}-*"} for split in heights]
    document = {"dataset_info": info, "configs": [{"config_name": "default", "data_files": files}]}
    return f"---\n{yaml.safe_dump(document, sort_keys=False, allow_unicode=True)}---\n"


_DTYPES = {"String": "string", "Boolean": "bool", "Null": "null", "Binary": "binary", "Date": "date32"}


def feature(kind: Any) -> dict[str, Any]:
    """A column's type in the card's words."""
    if isinstance(kind, pl.Struct):
        return {"struct": [{"name": field.name, **feature(field.dtype)} for field in kind.fields]}
    if isinstance(kind, pl.List | pl.Array):
        inner = feature(kind.inner)
        return {"list": inner["struct"]} if "struct" in inner else {"sequence": inner.get("dtype", inner)}
    if isinstance(kind, pl.Datetime):
        return {
            "dtype": f"timestamp[{kind.time_unit}]"
            if kind.time_zone is None
            else f"timestamp[{kind.time_unit}, tz={kind.time_zone}]"
        }
    return {"dtype": _DTYPES.get(str(kind), str(kind).lower())}
