"""How long an annotator waits: saving one annotation and getting the next item, through REST, in a project of 100,000 items.

save_ms        PUT …/annotation: annotation, history, item and audit row are on disk (several fsync) when the answer comes
save_next_ms   the same with the next two items reserved in the same request, as the page does it
next_ms        POST …/next alone
import_s       100,000 items from an uploaded file

Each for one annotator who does not pause at all, and for twenty who do an item every two seconds: p50, p95, p99 in milliseconds.
flat_out_per_s: saves a second of four who do not pause. fsync_ms: one of this disk, for comparison.

    python -m benchmarks.bench_annotate [--items 100000] [--saves 1000]

A real `llmos serve` of its own. Last line: JSON; the same in benchmarks/results/annotate.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from benchmarks import report
from benchmarks.serving import serving

URL = "http://127.0.0.1:{}"
BASE = "/api/v1/annotations"
LABELS = ("good", "bad", "mixed")
PEOPLE, PACE_S = 20, 2.0  # a quick annotator needs about two seconds for an item
FLAT_OUT = 4
LIMIT_MS = 50.0  # p95 of a save


def quantiles(values_s: list[float]) -> dict[str, float]:
    ordered = sorted(values_s)
    at = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 1) for name, share in at.items()}


def timed(call: Callable[..., httpx.Response], path: str, body: dict[str, Any] | None = None) -> tuple[float, Any]:
    """call: a method of a client."""
    began = time.perf_counter()
    answer = call(path) if body is None else call(path, json=body)
    took_s = time.perf_counter() - began
    assert answer.status_code == 200, answer.text
    return took_s, answer.json()


def imported(client: httpx.Client, folder: Path, num_items: int) -> tuple[str, float]:
    """A project with so many items of 200 characters, and the seconds of the import."""
    config = {"labels": list(LABELS), "overlap": 2}
    ref = client.post(BASE, json={"name": "bench", "task": "classification", "config": config}).json()["id"]
    path = folder / "items.jsonl"
    with path.open("w") as file:
        for number in range(num_items):
            file.write(json.dumps({"id": str(number), "text": f"Item {number}: " + "some words to read " * 10}) + "\n")
    with path.open("rb") as upload:
        stored = client.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("items.jsonl", upload)})
    took_s, said = timed(client.post, f"{BASE}/{ref}/items", {"file_id": stored.json()["id"]})
    assert said["num_added"] == num_items
    return str(ref), took_s


def annotate(url: str, ref: str, name: str, num_saves: int, pace_s: float) -> dict[str, list[float]]:
    """One annotator's seconds: half of the saves alone with `next` apart, half of them with the next items. pace_s: from one save to
    the next, on the average."""
    found: dict[str, list[float]] = {"save": [], "save_next": [], "next": []}
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        _, said = timed(client.post, f"{BASE}/{ref}/next", {"count": 2, "annotator": name})
        queue = said["items"]
        for number in range(num_saves):
            time.sleep(pace_s * 2 * random.random())
            item = queue.pop(0)
            whole = number % 2 == 1
            body = {
                "value": {"label": LABELS[number % 3]},
                "seconds": 1.5,
                "annotator": name,
                "next": 2 if whole else 0,
            }
            took_s, said = timed(client.put, f"{BASE}/{ref}/items/{item['item']}/annotation", body)
            found["save_next" if whole else "save"].append(took_s)
            more = said["next"]
            if not whole:
                took_s, said = timed(client.post, f"{BASE}/{ref}/next", {"count": 2, "annotator": name})
                found["next"].append(took_s)
                more = said["items"]
            queue += [one for one in more if one["item"] not in {known["item"] for known in queue}]
    return found


def measured(url: str, ref: str, names: list[str], num_saves: int, pace_s: float = 0.0) -> dict[str, Any]:
    """Of these annotators at once."""
    found: list[dict[str, list[float]]] = []
    threads = [
        threading.Thread(target=lambda name=name: found.append(annotate(url, ref, name, num_saves, pace_s))) for name in names
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(names)
    took_s = time.perf_counter() - began
    every = {what: [value for one in found for value in one[what]] for what in found[0]}
    figures: dict[str, Any] = {f"{what}_ms": quantiles(values) for what, values in every.items()}
    return {**figures, "saves_per_s": round(len(names) * num_saves / took_s, 1)}


def fsync_ms(folder: Path) -> float:
    """Median of 50 appends with fsync."""
    took = []
    with (folder / "probe").open("ab") as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return round(statistics.median(took) * 1000, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--saves", type=int, default=1000, help="of each annotator")
    arguments = parser.parse_args()
    busy_before, load_before = report.wait_until_quiet(), report.load()
    with tempfile.TemporaryDirectory(dir=os.environ.get("LLMOS_BENCH_DIR")) as name:
        folder = Path(name)
        disk_ms = fsync_ms(folder)
        with serving(folder / "home") as (port, _), httpx.Client(base_url=URL.format(port), timeout=600, trust_env=False) as client:
            url = URL.format(port)
            ref, import_s = imported(client, folder, arguments.items)
            one = measured(url, ref, ["ann"], arguments.saves)
            num_paced = max(2, arguments.saves // PEOPLE // 2)
            people = measured(url, ref, [f"p{number}" for number in range(PEOPLE)], num_paced, PACE_S)
            flat_out = measured(url, ref, [f"f{number}" for number in range(FLAT_OUT)], arguments.saves // 4)
            progress_s, told = timed(client.get, f"{BASE}/{ref}/progress")
            assert told["num_annotations"] == arguments.saves + PEOPLE * num_paced + FLAT_OUT * (arguments.saves // 4)
            agreement_s, _ = timed(client.get, f"{BASE}/{ref}/agreement")
    result = {
        "items": arguments.items,
        "import_s": round(import_s, 1),
        "one_annotator": one,
        f"{PEOPLE}_annotators": people,
        "flat_out_per_s": flat_out["saves_per_s"],
        "progress_ms": round(progress_s * 1000, 1),
        "agreement_ms": round(agreement_s * 1000, 1),
        "fsync_ms": disk_ms,
        "save_p95_under_50_ms": one["save_ms"]["p95"] < LIMIT_MS,
    }
    rows = [
        (who, what, *figures.values())
        for who in ("one_annotator", f"{PEOPLE}_annotators")
        for what, figures in result[who].items()
        if isinstance(figures, dict)
    ]
    report.print_table(("who", "what", "p50", "p95", "p99"), rows)
    load = {"busy_before": busy_before, "load_before": load_before, "load_after": report.load()}
    report.finish("annotate", {**result, **load})


if __name__ == "__main__":
    main()
