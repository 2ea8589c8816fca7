"""LLMOS's engine driven directly: the pool as a batch has it, the whole batch submitted as token ids at once."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.rivals.batch_work import Answer, Prompts, run
from llmos import Settings
from llmos.engine.pool import Pool
from llmos.library.library import Library
from llmos.types import Sampling


def load(model: Path, options: argparse.Namespace) -> Answer:
    settings = Settings.from_env()
    library = Library.open(settings)
    pool = Pool(settings, library, inline=True)
    session = pool.session(f"bench-{model.stem.lower()}", load=False, shared_by="" if options.prefix_cache else None)

    def answer(prompts: Prompts) -> list[int]:
        running = [
            session.complete(tuple(ids), Sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True), work="batch", stream=False)
            for ids, tokens in prompts
        ]
        with ThreadPoolExecutor(1) as threads:
            return list(threads.map(lambda one: len(one.result()[0].token_ids), running))

    return answer


if __name__ == "__main__":
    run(load)
