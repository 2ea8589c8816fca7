"""datatrove 0.10.1 on the corpus, as its FineWeb example does it: filters -> MinHash in four stages -> Parquet, on `--workers` processes.

Run by path inside its own environment (requirements-datatrove.txt); nothing of LLMOS is imported:

    ENV/bin/python benchmarks/rivals/datatrove_pipeline.py INPUT_FOLDER OUTPUT_FOLDER --workers 2
    … --decisions FILE      also one JSON line a document: {"id", "kept", "filter", "reason", "cluster"}
    … --dedup-only          no filters, MinHash alone

Parameters: the defaults of every filter and of MinHash (5-grams, 14 buckets of 8 hashes, 64 bit), with one change that FineWeb
makes too: C4QualityFilter(filter_no_terminal_punct=False). Favourable choices: no compression in between, one task an input file, no
exclusion files when only the time is wanted. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor  # type: ignore[import-not-found]
from datatrove.pipeline.dedup import (  # type: ignore[import-not-found]
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig  # type: ignore[import-not-found]
from datatrove.pipeline.filters import (  # type: ignore[import-not-found]
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.readers import JsonlReader  # type: ignore[import-not-found]
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter  # type: ignore[import-not-found]

FILTERS = ("gopher_repetition", "gopher_quality", "c4", "fineweb")


def _stages(
    source: Path, work: Path, target: Path, tasks: int, *, explain: bool, dedup_only: bool
) -> list[tuple[str, int, list[Any]]]:
    """(name, tasks, steps) of each executor, in order."""
    config = MinhashConfig()

    def dropped(name: str) -> Any:
        return JsonlWriter(str(work / "dropped" / name), compression=None) if explain else None

    filters = [
        GopherRepetitionFilter(exclusion_writer=dropped("gopher_repetition")),
        GopherQualityFilter(exclusion_writer=dropped("gopher_quality")),
        C4QualityFilter(filter_no_terminal_punct=False, exclusion_writer=dropped("c4")),
        FineWebQualityFilter(exclusion_writer=dropped("fineweb")),
    ]
    if dedup_only:
        filters = []
    kept, signatures, buckets, clusters = (str(work / name) for name in ("kept", "signatures", "buckets", "clusters"))
    return [
        (
            "filters",
            tasks,
            [JsonlReader(str(source), glob_pattern="part-*.jsonl"), *filters, JsonlWriter(kept, "${rank}.jsonl", compression=None)],
        ),
        ("signatures", tasks, [JsonlReader(kept), MinhashDedupSignature(signatures, config)]),
        ("buckets", config.num_buckets, [MinhashDedupBuckets(signatures, buckets, config=config)]),
        ("clusters", 1, [MinhashDedupCluster(buckets, clusters, config=config, save_cluster_id=explain)]),
        (
            "write",
            tasks,
            [
                JsonlReader(kept),
                MinhashDedupFilter(clusters, exclusion_writer=dropped("minhash"), load_cluster_ids=explain),
                ParquetWriter(str(target)),
            ],
        ),
    ]


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.open(encoding="utf-8")]


def _kept_rows(target: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    return [row for path in sorted(target.glob("*.parquet")) for row in pyarrow.parquet.read_table(path).to_pylist()]


def _decisions(work: Path, target: Path) -> list[dict[str, Any]]:
    """What became of each document; cluster: the number of its group of near-duplicates, kept member included, or None."""
    found = []
    for name in (*FILTERS, "minhash"):
        for row in _rows(work / "dropped" / name):
            metadata = row["metadata"]
            reason = metadata.get("filter_reason", "duplicate")
            found.append(
                {"id": row["id"], "kept": False, "filter": name, "reason": reason, "cluster": metadata.get("minhash_cluster_id")}
            )
    for row in _kept_rows(target):
        cluster = row["metadata"].get("minhash_cluster_id", -1)
        found.append({"id": row["id"], "kept": True, "filter": None, "reason": None, "cluster": cluster if cluster >= 0 else None})
    return found


def _drops(stats: Any) -> dict[str, dict[str, int]]:
    """filter -> reason -> documents, from the statistics of the executor."""
    steps = json.loads(stats.to_json())
    counts = {}
    for name, step in zip(FILTERS, steps[1:5], strict=True):
        counts[name] = {
            key.removeprefix("dropped_"): _total(value) for key, value in step["stats"].items() if key.startswith("dropped_")
        }
    return counts


def _total(value: Any) -> int:
    return int(value["total"] if isinstance(value, dict) else value)


def run(source: Path, target: Path, workers: int, decisions: Path | None, *, dedup_only: bool = False) -> dict[str, Any]:
    """The whole pipeline into an empty `target`; its figures."""
    work = target.with_name(f"{target.name}.work")
    for folder in (work, target):
        shutil.rmtree(folder, ignore_errors=True)
    tasks = len(list(source.glob("part-*.jsonl")))
    seconds, stats = {}, {}
    for name, num_tasks, steps in _stages(source, work, target, tasks, explain=decisions is not None, dedup_only=dedup_only):
        start = time.perf_counter()
        executor = LocalPipelineExecutor(
            steps, tasks=num_tasks, workers=min(workers, num_tasks), logging_dir=str(work / "logs" / name)
        )
        stats[name] = executor.run()
        seconds[name] = round(time.perf_counter() - start, 2)
    filtered, written = (json.loads(stats[name].to_json()) for name in ("filters", "write"))
    if decisions is not None:
        decisions.parent.mkdir(parents=True, exist_ok=True)
        decisions.write_text("".join(json.dumps(row) + "\n" for row in _decisions(work, target)), encoding="utf-8")
    return {
        "rival": "datatrove 0.10.1",
        "seconds": round(sum(seconds.values()), 2),
        "stages_s": seconds,
        "workers": workers,
        "documents_in": _total(filtered[0]["stats"]["documents"]),
        "documents_filtered": _total(filtered[-1]["stats"]["total"]),
        "documents_kept": _total(written[-1]["stats"]["total"]),
        "dropped": {} if dedup_only else _drops(stats["filters"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="datatrove: filters, MinHash, Parquet")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--decisions", type=Path)
    parser.add_argument("--dedup-only", action="store_true")
    given = parser.parse_args()
    print(
        json.dumps(run(given.source.resolve(), given.target.resolve(), given.workers, given.decisions, dedup_only=given.dedup_only))
    )


if __name__ == "__main__":
    main()
