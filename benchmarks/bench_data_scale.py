"""How time and memory of a data recipe grow with its input, and with the workers of a Ray cluster.

In: nothing (the corpus is made of packages: data_corpus.py). Out: tables, benchmarks/results/data_scale.json.
The quality filters and MinHash of bench_data.py on --megabytes of text, and on 4 and 16 times as much (the corpus again, words of a
copy marked, so that copies are no duplicates of each other); the same on a Ray cluster of this machine with one and two nodes of one
core; and --huge gigabytes, no process of which may have more than --limit megabytes (RLIMIT_DATA), and all together may not either.
Memory is the largest sum of the resident sets of all processes of the run, looked at ten times a second; a page that several of them
share counts for each. Of runs on Ray it is not told: their workers belong to the cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bench_data import prepared
from benchmarks.report import finish, load, print_table, wait_until_quiet

ROOT = Path(__file__).resolve().parent.parent
LOOK_S = 0.1


def enlarged(source: Path, folder: Path, times: float) -> Path:
    """`folder`: the documents of `source` that many times, those of the n-th copy with n in every word."""
    folder.mkdir(parents=True)
    files = sorted(source.glob("part-*.jsonl"))
    for number in range(int(times)):
        for path in files:
            with (
                path.open(encoding="utf-8") as rows,
                (folder / f"part-{number:03d}-{path.stem[-2:]}.jsonl").open("w", encoding="utf-8") as out,
            ):
                for line in rows:
                    row = json.loads(line)
                    if number:
                        row["id"], row["text"] = f"{row['id']}~{number}", marked(row["text"], number)
                    out.write(json.dumps(row, ensure_ascii=False) + "\n")
    return folder


def marked(text: str, number: int) -> str:
    """As long as it was but for a letter in every fifth word, another one for another number: no shingle of five words is the same."""
    letter = "bcdfghjklmnpqrstvwxz"[number % 20] + ("aeiou"[number // 20 % 5] if number >= 20 else "")
    lines = []
    for line in text.split("\n"):
        words = line.split(" ")
        words[::5] = [word + letter if word.isalpha() else word for word in words[::5]]
        lines.append(" ".join(words))
    return "\n".join(lines)


def measured(arguments: Sequence[str], *, env: dict[str, str] | None = None, limit_bytes: int | None = None) -> dict[str, Any]:
    """One run of LLMOS on a folder: what it printed, its time and the most memory."""
    before = wait_until_quiet()
    limited = ["prlimit", f"--data={limit_bytes}"] if limit_bytes else []
    command = [*limited, sys.executable, "-m", "benchmarks.rivals.llmos_data", *arguments]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as wrong:
        run = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=wrong, env=os.environ | (env or {}))
        most = 0
        while run.poll() is None:
            most = max(most, _resident(run.pid))
            time.sleep(LOOK_S)
        said.seek(0)
        wrong.seek(0)
        if run.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {run.returncode}:\n{wrong.read().decode()[-3000:]}")
        answer: dict[str, Any] = json.loads(said.read().decode().strip().splitlines()[-1])
    return answer | {"peak_memory_mb": round(most / 2**20), "busy_before": before, "load_after": load()}


def _resident(pid: int) -> int:
    try:
        mine = psutil.Process(pid)
        family = [mine, *mine.children(recursive=True)]
        return sum(one.memory_info().rss for one in family if one.is_running())
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description="LLMOS: time and memory of a data recipe by size of its input")
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--times", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--ray", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--huge", type=float, default=5.0, help="gigabytes for the run under a limit; 0 leaves it out")
    parser.add_argument("--limit", type=int, default=2048, help="megabytes of memory of that run, all processes together")
    given = parser.parse_args()
    source = prepared(given.megabytes)
    size = sum(path.stat().st_size for path in source.glob("part-*.jsonl"))
    result: dict[str, Any] = vars(given) | {"runs": {}}
    with tempfile.TemporaryDirectory(dir=os.environ.get("LLMOS_BENCH_FOLDER")) as place:
        for times in given.times:
            folder = enlarged(source, Path(place) / f"x{times}", times)
            result["runs"][f"{times}x"] = measured([str(folder), f"{place}/out", "--workers", "2"]) | {
                "gigabytes": times * size / 1e9
            }
        if given.ray:
            result["runs"] |= on_ray(Path(place) / f"x{given.times[-1]}", Path(place), given.ray)
        if given.huge:
            folder = enlarged(source, Path(place) / "huge", -(-given.huge * 1e9 // size))
            found = measured([str(folder), f"{place}/out", "--workers", "2"], limit_bytes=given.limit * 2**20)
            result["runs"]["huge, limited"] = found | {"gigabytes": given.huge}
            if found["peak_memory_mb"] > given.limit:
                raise SystemExit(f"All processes together had {found['peak_memory_mb']} MB, more than {given.limit}.")
    rows = [
        [
            name,
            run.get("gigabytes") and round(run["gigabytes"], 2),
            run["documents_in"],
            run["seconds"],
            run["peak_memory_mb"],
            run["documents_kept"],
        ]
        for name, run in result["runs"].items()
    ]
    print_table(["run", "GB", "documents", "seconds", "peak MB", "kept"], rows)
    finish("data_scale", result)


def on_ray(folder: Path, place: Path, counts: Sequence[int]) -> dict[str, Any]:
    """The largest input on clusters of as many nodes of one core."""
    from tests.kernel.ray_cluster import Cluster

    found = {}
    for count in counts:
        with Cluster(num_nodes=count) as cluster:
            env = {"LLMOS_RAY_ADDRESS": cluster.address}
            arguments = [str(folder), f"{place}/out", "--workers", str(count), "--executor", "ray"]
            found[f"ray, {count} nodes"] = measured(arguments, env=env) | {"peak_memory_mb": None}
    return found


if __name__ == "__main__":
    main()
