"""LLMOS on the corpus: a recipe from JSON Lines to Parquet, as `llmos data run` computes it, in a home of its own.

    python -m benchmarks.rivals.llmos_data INPUT_FOLDER OUTPUT_FOLDER --recipe quality|dedup|FILE --workers 2 [--decisions FILE]

quality: the filters of Gopher, C4 and FineWeb, then MinHash, with the thresholds of the rivals; dedup: MinHash alone; FILE: a recipe, of
Data-Juicer too. The time is that of the run from finding the files to the published version (checked, hashed, with its ledger and lineage);
loading of the library is not counted, as with the rivals. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import polars as pl

from llmos.data.builtins import load
from llmos.data.recipe import Recipe
from llmos.data.run import Run
from llmos.data.store import Datasets, Version
from llmos.library.library import Library
from llmos.settings import Settings

MINHASH: dict[str, Any] = {"minhash_dedup": {"ngram": 5, "bands": 14, "rows_per_band": 8}}
RECIPES: dict[str, list[Any]] = {
    "quality": ["gopher_repetition", "gopher_quality", "c4_quality", "fineweb_quality", MINHASH],
    "dedup": [MINHASH],
    "filters": ["gopher_repetition", "gopher_quality", "c4_quality", "fineweb_quality"],
}


def recipe(name: str, source: Path, workers: int, executor: str) -> Recipe:
    more = {"executor": executor, "workers": workers, "name": "bench"}
    if name in RECIPES:
        return Recipe.build({"sources": [{"path": f"{source}/part-*.jsonl"}], "process": RECIPES[name], **more})
    document = json.loads(Path(name).read_text())
    return Recipe.build(document | {"dataset_path": f"{source}/part-*.jsonl"}).model_copy(update=more)


def decisions(version: Version) -> list[dict[str, Any]]:
    """What became of each document: {"id", "kept", "step", "signal", "other"}; other: the id of the document kept instead."""
    names = {}
    rows = []
    told = version.ledger().filter(pl.col("action") == "dropped").select("_id", "step", "signal", "other", "row").collect()
    for row in told.iter_rows(named=True):
        names[row["_id"]] = json.loads(row["row"])["id"]
    for row in version.scan().select("_id", "id").collect().iter_rows(named=True):
        names[row["_id"]] = row["id"]
        rows.append({"id": row["id"], "kept": True, "step": "", "signal": "", "other": None})
    for row in told.iter_rows(named=True):
        rows.append(
            {"id": names[row["_id"]], "kept": False, "step": row["step"], "signal": row["signal"], "other": names.get(row["other"])}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="LLMOS: a recipe from JSON Lines to Parquet")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--recipe", default="quality")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--executor", default="processes")
    parser.add_argument("--decisions", type=Path)
    given = parser.parse_args()
    shutil.rmtree(given.target, ignore_errors=True)
    load()
    settings = Settings.from_env(home=given.target.resolve())
    datasets = Datasets(settings, Library.open(settings).database)
    asked = recipe(given.recipe, given.source.resolve(), given.workers, given.executor)
    start = time.perf_counter()
    version = Run(recipe=asked, datasets=datasets).execute()
    seconds = time.perf_counter() - start
    tally = version.manifest["tally"]
    if given.decisions is not None:
        given.decisions.parent.mkdir(parents=True, exist_ok=True)
        given.decisions.write_text("".join(json.dumps(row) + "\n" for row in decisions(version)), encoding="utf-8")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    answer = {
        "rival": "LLMOS",
        "seconds": round(seconds, 2),
        "workers": given.workers,
        "documents_in": tally["read"],
        "documents_kept": version.num_rows,
        "version": version.version,
        "peak_memory_mb": round(sum(one.ru_maxrss for one in used) / 1024),
        "dropped": {label: step["dropped_by"] for label, step in tally["steps"].items()},
        "step_seconds": {label: round(step["seconds"], 2) for label, step in tally["steps"].items()},
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
