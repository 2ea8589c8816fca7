"""How fast a data recipe runs, beside datatrove and Data-Juicer, and whether it decides alike.

In: nothing (the corpus is made of packages: data_corpus.py). Out: tables, benchmarks/results/data.json.
The same JSON Lines files of real text, with edited copies of 2,000 documents planted in them, through the same filters at the same
thresholds and MinHash, to Parquet, on --workers processes:

    quality    Gopher, C4 and FineWeb filters, MinHash       LLMOS and datatrove
    dedup      MinHash alone                                 LLMOS and datatrove
    juicer     one recipe file of Data-Juicer                LLMOS and Data-Juicer

Each contender in a process of its own, one at a time, in rounds; loading of libraries is not counted, a figure is the median of the rounds.
The rivals live in environments of their own:

    python -m venv DT && DT/bin/pip install -r benchmarks/rivals/requirements-datatrove.txt       DATATROVE_PYTHON=DT/bin/python
    python -m venv DJ && DJ/bin/pip install -r benchmarks/rivals/requirements-data-juicer.txt     JUICER_PYTHON=DJ/bin/python

Decisions are compared on a smaller corpus with as many planted copies, in runs that are not timed, because rivals write more when they
have to tell: the share of documents that both keep or both drop, and how those they disagree on fall into classes. Recall of planted
copies is the share of pairs (both members past the filters, true Jaccard similarity of their 5-word shingles at least NEAR) of which
at most one stays; precision the share of documents removed as near-duplicates that are (at least HALF similar to one that stays).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.data_corpus import MB, corpus, jaccard, planted, truth_file
from benchmarks.report import finish, load, print_table, wait_until_quiet

ROOT = Path(__file__).resolve().parent.parent
NEAR, HALF = 0.8, 0.5
RIVALS = ROOT / "benchmarks" / "rivals"
Decisions = dict[str, dict[str, Any]]


def contenders(juicer_recipe: Path) -> dict[str, dict[str, list[str]]]:
    """race -> contender -> command, without folders."""
    ours = [sys.executable, "-m", "benchmarks.rivals.llmos_data"]
    datatrove = os.environ.get("DATATROVE_PYTHON", "")
    juicer = os.environ.get("JUICER_PYTHON", "")
    found: dict[str, dict[str, list[str]]] = {"juicer": {}, "quality": {}, "dedup": {}}
    found["quality"]["LLMOS"] = [*ours, "--recipe", "quality"]
    found["dedup"]["LLMOS"] = [*ours, "--recipe", "dedup"]
    if datatrove:
        found["quality"]["datatrove"] = [datatrove, str(RIVALS / "datatrove_pipeline.py")]
        found["dedup"]["datatrove"] = [datatrove, str(RIVALS / "datatrove_pipeline.py"), "--dedup-only"]
    if juicer:
        found["juicer"]["LLMOS"] = [*ours, "--recipe", str(juicer_recipe)]
        found["juicer"]["Data-Juicer"] = [juicer, str(RIVALS / "data_juicer_pipeline.py")]
    return found


def once(command: Sequence[str], source: Path, folder: Path, workers: int, decisions: Path | None) -> dict[str, Any]:
    """One run; what it printed last, with the load before and after."""
    before = wait_until_quiet()
    whole = [*command, str(source), str(folder / "out"), "--workers", str(workers)]
    whole += ["--decisions", str(decisions)] if decisions else []
    done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(whole)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer | {"busy_before": before, "load_after": load()}


def race(commands: dict[str, list[str]], source: Path, *, workers: int, rounds: int) -> dict[str, Any]:
    """Figures of every contender: medians of the rounds."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    size = sum(path.stat().st_size for path in source.glob("part-*.jsonl"))
    for _ in range(rounds):
        for name, command in commands.items():
            with tempfile.TemporaryDirectory() as folder:
                runs[name].append(once(command, source, Path(folder), workers, None))
            print(f"  {name}: {runs[name][-1]['seconds']} s", file=sys.stderr, flush=True)
    figures = {}
    for name, answers in runs.items():
        seconds = statistics.median(answer["seconds"] for answer in answers)
        figures[name] = {
            "seconds": seconds,
            "documents_per_s": round(answers[0]["documents_in"] / seconds, 1),
            "mb_per_s": round(size / 1e6 / seconds, 2),
            "runs": answers,
        }
    return figures


def decide(commands: dict[str, list[str]], source: Path, *, workers: int) -> dict[str, Decisions]:
    """What every contender decides of each document."""
    decided = {}
    for name, command in commands.items():
        with tempfile.TemporaryDirectory() as folder:
            told = Path(folder) / "decisions.jsonl"
            once(command, source, Path(folder), workers, told)
            rows = [json.loads(line) for line in told.open(encoding="utf-8")]
        decided[name] = {row["id"]: row for row in rows}
    return decided


def agreement(ours: Decisions, theirs: Decisions) -> dict[str, Any]:
    """classes: (what ours says, what theirs says) of documents that only one of them keeps."""
    shared = ours.keys() & theirs.keys()
    classes: Counter[str] = Counter()
    for name in shared:
        one, other = ours[name], theirs[name]
        if one["kept"] != other["kept"]:
            gone = one if not one["kept"] else other
            who = "LLMOS drops" if gone is one else "rival drops"
            why = gone.get("signal") or gone.get("reason") or "?"
            classes[f"{who}: {gone.get('step') or gone.get('filter') or ''} {why}".strip()] += 1
    same = len(shared) - sum(classes.values())
    return {"documents": len(shared), "same": round(same / len(shared), 4), "classes": dict(classes.most_common())}


def duplicates(decided: Decisions, truth: Path, texts: dict[str, str]) -> dict[str, Any]:
    """Recall of planted pairs by edit, and precision of what was removed."""
    by_edit: dict[str, list[bool]] = {}
    for line in truth.open(encoding="utf-8"):
        pair = json.loads(line)
        one, other = decided.get(pair["original"]), decided.get(pair["copy"])
        if one and other and _passed(one) and _passed(other) and pair["jaccard"] >= NEAR:
            by_edit.setdefault(pair["edit"], []).append(not (one["kept"] and other["kept"]))
    found = [hit for hits in by_edit.values() for hit in hits]
    removed = [(name, row) for name, row in decided.items() if not row["kept"] and _passed(row)]
    kept_of = {row["cluster"]: name for name, row in decided.items() if row["kept"] and row.get("cluster") is not None}
    right = 0
    for name, row in removed:
        partner = row.get("other") or kept_of.get(row.get("cluster"))
        right += bool(partner) and jaccard(texts[name], texts[str(partner)]) >= HALF
    return {
        "pairs": len(found),
        "recall": round(sum(found) / max(1, len(found)), 4),
        "by_edit": {edit: round(sum(hits) / len(hits), 4) for edit, hits in sorted(by_edit.items())},
        "removed": len(removed),
        "precision": round(right / max(1, len(removed)), 4),
    }


def _passed(row: dict[str, Any]) -> bool:
    """Whether the document came to the deduplication."""
    return bool(row["kept"]) or row.get("filter") == "minhash" or row.get("signal") == "near_duplicate"


def main() -> None:
    parser = argparse.ArgumentParser(description="LLMOS, datatrove and Data-Juicer on the same text")
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--decide-megabytes", type=int, default=28, help="size of the corpus on which decisions are compared")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--races", default="juicer,quality,dedup")
    given = parser.parse_args()
    source, small = prepared(given.megabytes), prepared(given.decide_megabytes)
    files = sorted(small.glob("part-*.jsonl"))
    texts = {row["id"]: row["text"] for path in files for row in map(json.loads, path.open(encoding="utf-8"))}
    result: dict[str, Any] = vars(given) | {"documents_compared": len(texts)}
    with tempfile.TemporaryDirectory() as place:
        juicer = juicer_recipe(Path(place))
        for name, commands in contenders(juicer).items():
            if name not in given.races.split(",") or not commands:
                continue
            print(f"{name}:", file=sys.stderr)
            figures = race(commands, source, workers=given.workers, rounds=given.rounds)
            decided = decide(commands, in_one_file(small, Path(place) / "one"), workers=given.workers)
            told = {who: duplicates(what, truth_file(small), texts) for who, what in decided.items() if name != "juicer"}
            others = [who for who in decided if who != "LLMOS"]
            alike = {who: agreement(decided["LLMOS"], decided[who]) for who in others}
            times = {who: round(figures["LLMOS"]["documents_per_s"] / figures[who]["documents_per_s"], 1) for who in others}
            result[name] = {"figures": figures, "duplicates": told, "agreement": alike, "times_faster": times}
            print_table(
                ["race", "contender", "seconds", "documents/s", "MB/s", "LLMOS is", "decide alike", "recall", "precision"],
                [
                    [name, who, one["seconds"], one["documents_per_s"], one["mb_per_s"], f"{times[who]}x" if who in times else "",
                     alike[who]["same"] if who in alike else "", told.get(who, {}).get("recall"), told.get(who, {}).get("precision")]
                    for who, one in figures.items()
                ],
            )  # fmt: skip
    finish("data", result)


def prepared(megabytes: int) -> Path:
    """The corpus of that size with the copies in it."""
    folder = corpus(megabytes * MB)
    return planted(folder, folder.with_name(f"{folder.name}-planted"))


def in_one_file(source: Path, folder: Path) -> Path:
    """The corpus as one file: which of two duplicates comes first is then no matter of the order of files in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "part-00.jsonl").write_bytes(b"".join(path.read_bytes() for path in sorted(source.glob("part-*.jsonl"))))
    return folder


def juicer_recipe(folder: Path) -> Path:
    """The recipe that Data-Juicer's contender runs, as a file."""
    from benchmarks.rivals.data_juicer_pipeline import recipe, write_words

    path = folder / "juicer.json"
    path.write_text(json.dumps(recipe(folder, folder / "result.parquet", write_words(folder / "words"), 2)))
    return path


if __name__ == "__main__":
    main()
