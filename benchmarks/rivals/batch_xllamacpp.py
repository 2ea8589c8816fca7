"""xllamacpp's own HTTP server with 16 slots and its prompt cache, asked by one client that keeps 16 requests under way."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from benchmarks.rivals.batch_work import Answer, Prompts, run

CONCURRENCY = 16


def load(model: Path, options: argparse.Namespace) -> Answer:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.n_parallel = CONCURRENCY
    parameters.n_ctx = CONCURRENCY * 1024
    parameters.kv_unified = True
    parameters.cpuparams.n_threads = 2
    parameters.cpuparams_batch.n_threads = 2
    server = xllamacpp.Server(parameters)
    client = httpx.Client(base_url=server.listening_address, timeout=3600, limits=httpx.Limits(max_connections=2 * CONCURRENCY))

    def one(prompt: tuple[list[int], int]) -> int:
        body = {"prompt": prompt[0], "n_predict": prompt[1], "temperature": 0, "ignore_eos": True, "cache_prompt": True}
        found = client.post("/completion", json=body)
        found.raise_for_status()
        return int(found.json()["tokens_predicted"])

    def answer(prompts: Prompts) -> list[int]:
        with ThreadPoolExecutor(CONCURRENCY) as threads:
            return list(threads.map(one, prompts))

    answer.keep = server  # type: ignore[attr-defined]  # the server lives as long as the function
    return answer


if __name__ == "__main__":
    run(load)
