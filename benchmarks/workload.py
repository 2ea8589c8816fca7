"""The work that every engine does in bench_inference, and the driver that times it, one engine a process.

    prefill     one prompt of PREFILL tokens, one token written: tokens read per second
    decode xN   N different prompts of PROMPT tokens at once, `decode_tokens` written each, end-of-sequence ignored, greedy:
                tokens written per second of the whole call

Prompts are random token ids from a fixed seed, a fresh set each repeat, so that no prefix cache helps anybody; ids are the same
for every engine. The figure is the median of the repeats after a warm-up of each kind of work. Peak memory is the largest resident
set of the process and its children.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

PREFILL = 1000
PROMPT = 32
BATCHES = (1, 8, 32)
Generate = Callable[[list[list[int]], int], list[int]]
"""(prompts as token ids, tokens to write) -> number of tokens written for each."""


def run(load: Callable[[Path], Generate]) -> None:
    """The main of a rival's module: loads, works, prints one JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--decode-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    started = time.monotonic()
    generate = load(options.model)
    load_s = time.monotonic() - started
    found: dict[str, float] = {"load_s": round(load_s, 2)}
    draw = random.Random(20261122)
    for count, length, tokens in ((1, PREFILL, 1), (1, PROMPT, 8), (2, PROMPT, 8)):
        generate(_prompts(draw, count, length), tokens)
    found["prefill"] = _median(lambda: _prefill(generate, draw), options.repeats)
    for size in BATCHES:
        found[f"decode_x{size}"] = _median(partial(_decode, generate, draw, size, options.decode_tokens), options.repeats)
    found["peak_memory_mb"] = round(_peak_bytes() / 1e6)
    getattr(generate, "stop", lambda: None)()
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def _peak_bytes() -> int:
    """The largest resident sets (VmHWM) of this process and of all below it, engine processes of a server included, added up."""
    import psutil

    own = psutil.Process()
    peaks = [Path(f"/proc/{process.pid}/status").read_text() for process in [own, *own.children(recursive=True)]]
    return sum(int(line.split()[1]) * 1024 for text in peaks for line in text.splitlines() if line.startswith("VmHWM:"))


def _median(measure: Callable[[], float], repeats: int) -> float:
    return round(statistics.median(measure() for _ in range(repeats)), 1)


def _prompts(draw: random.Random, count: int, length: int) -> list[list[int]]:
    return [[draw.randrange(1000, 40000) for _ in range(length)] for _ in range(count)]


def _prefill(generate: Generate, draw: random.Random) -> float:
    prompts = _prompts(draw, 1, PREFILL)
    started = time.monotonic()
    generate(prompts, 1)
    return PREFILL / (time.monotonic() - started)


def _decode(generate: Generate, draw: random.Random, size: int, tokens: int) -> float:
    prompts = _prompts(draw, size, PROMPT)
    started = time.monotonic()
    written = generate(prompts, tokens)
    seconds = time.monotonic() - started
    if written != [tokens] * size:
        raise RuntimeError(f"asked for {tokens} tokens of each of {size} prompts, got {written}")
    return sum(written) / seconds
