"""One batch as every contender of bench_batch gets it, and how it answers: a JSON line with what it took.

    work.json   {"prompts": [[token ids, tokens to write], …], "model": path of the GGUF file}

Every answer has exactly the length that is asked (end-of-sequence is ignored), greedy, so all write the same number of tokens.
seconds: from the first request to the last answer, the model being loaded.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

Prompts = list[tuple[list[int], int]]
Answer = Callable[[Prompts], list[int]]
"""prompts -> tokens written for each."""


def run(load: Callable[[Path, argparse.Namespace], Answer]) -> None:
    """The main of a contender's module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--prefix-cache", action="store_true")
    options = parser.parse_args()
    work = json.loads(options.work.read_text())
    prompts: Prompts = [(ids, tokens) for ids, tokens in work["prompts"]]
    started = time.monotonic()
    answer = load(Path(work["model"]), options)
    load_s = time.monotonic() - started
    answer([([5, 6, 7, 8], 2)])  # what the first request alone would pay
    started = time.monotonic()
    written = answer(prompts)
    seconds = time.monotonic() - started
    if written != [tokens for _, tokens in prompts]:
        raise RuntimeError("an answer has another length than was asked")
    sys.stdout.write(json.dumps({"seconds": round(seconds, 2), "load_s": round(load_s, 2), "written": sum(written)}) + "\n")
    sys.stdout.flush()
