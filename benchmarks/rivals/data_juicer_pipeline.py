"""Data-Juicer 1.6.1 on the corpus: quality filters -> MinHash -> Parquet, as its default executor runs a recipe with np = `--workers`.

Run by path inside its own environment (requirements-data-juicer.txt); nothing of LLMOS is imported:

    ENV/bin/python benchmarks/rivals/data_juicer_pipeline.py INPUT_FOLDER OUTPUT_FOLDER --workers 2
    … --decisions FILE      also one JSON line a document: {"id", "kept"}

The filters, their order and their thresholds are those of its published recipe redpajama-c4-refine. What needs a download from its
server is left out or replaced: language_id_score_filter and perplexity_filter (models) are out, `tokenization` is off, the list of
stop words is the one below. text_length_filter and stopwords_filter stand for Gopher's rules of the same kind; MinHash, with datatrove's
5-grams in 14 bands of 8, for the recipe's SimHash. The cache of Hugging Face data sets lives in a folder made for this run, so
that no run profits from an earlier one. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

STOP_WORDS = """a about after all also an and any are as at be because been before but by can could do does for from had has have he her
his how i if in into is it its like may more most my no not of on one only or other our out over she should so some such than that the
their them then there these they this to up use used was we were what when which who will with would you your"""

PROCESS: list[dict[str, dict[str, Any]]] = [
    {"alphanumeric_filter": {"tokenization": False, "min_ratio": 0.65, "max_ratio": 0.9}},
    {"average_line_length_filter": {"max_len": 3000}},
    {"character_repetition_filter": {"rep_len": 10, "max_ratio": 0.3}},
    {"maximum_line_length_filter": {"max_len": 4000}},
    {"special_characters_filter": {"max_ratio": 0.4}},
    {"text_length_filter": {"min_len": 200, "max_len": 100000}},
    {"words_num_filter": {"tokenization": False, "min_num": 20, "max_num": 10000}},
    {"stopwords_filter": {"lang": "en", "tokenization": False, "min_ratio": 0.15}},
    {"word_repetition_filter": {"lang": "en", "tokenization": False, "rep_len": 10, "max_ratio": 0.231}},
    {
        "document_minhash_deduplicator": {
            "tokenization": "space",
            "window_size": 5,
            "lowercase": True,
            "num_permutations": 112,
            "num_bands": 14,
            "num_rows_per_band": 8,
        }
    },
]


def recipe(source: Path, result: Path, words: Path, workers: int) -> dict[str, Any]:
    """The recipe as it would stand in YAML. words: folder with stopwords.json, {"en": [...]}."""
    process = [
        {name: options | ({"stopwords_dir": str(words)} if name == "stopwords_filter" else {})}
        for one in PROCESS
        for name, options in one.items()
    ]
    return {"project_name": "bench", "dataset_path": str(source), "export_path": str(result), "np": workers, "process": process}


def write_words(folder: Path) -> Path:
    """The folder with the list of stop words in the layout Data-Juicer looks for."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stopwords.json").write_text(json.dumps({"en": STOP_WORDS.split()}))
    return folder


def _documents(folder: Path) -> list[str]:
    return [json.loads(line)["id"] for path in sorted(folder.glob("part-*.jsonl")) for line in path.open(encoding="utf-8")]


def run(source: Path, target: Path, workers: int, decisions: Path | None) -> dict[str, Any]:
    """The whole recipe into an empty `target`; its figures. Loading of the library is not counted."""
    work = target.with_name(f"{target.name}.work")
    for folder in (work, target):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    os.environ.update(HF_DATASETS_CACHE=str(work / "cache"), HF_HUB_OFFLINE="1")
    from data_juicer.config import init_configs  # type: ignore[import-not-found]
    from data_juicer.core import DefaultExecutor  # type: ignore[import-not-found]

    config = work / "recipe.yaml"
    # JSON is YAML
    config.write_text(json.dumps(recipe(source, target / "result.parquet", write_words(work / "words"), workers), indent=2))
    start = time.perf_counter()
    kept = DefaultExecutor(init_configs(["--config", str(config)])).run()
    seconds = time.perf_counter() - start
    names = _documents(source)
    if decisions is not None:
        left = set(kept["id"])
        decisions.parent.mkdir(parents=True, exist_ok=True)
        decisions.write_text("".join(json.dumps({"id": name, "kept": name in left}) + "\n" for name in names), encoding="utf-8")
    return {
        "rival": "Data-Juicer 1.6.1",
        "seconds": round(seconds, 2),
        "workers": workers,
        "documents_in": len(names),
        "documents_kept": len(kept),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Data-Juicer: filters, MinHash, Parquet")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--decisions", type=Path)
    given = parser.parse_args()
    answer = run(given.source.resolve(), given.target.resolve(), given.workers, given.decisions)
    print(json.dumps(answer), file=sys.__stdout__)  # sys.stdout is its log by now


if __name__ == "__main__":
    main()
