"""xllamacpp's own HTTP server with 16 slots and its prompt cache, asked by one client that keeps 16 requests under way."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from benchmarks.rivals.batch_work import Answer, Prompts, run

CONCURRENCY = 16


class Client:
    """Answers prompts; the server lives as long as it."""

    def __init__(self, server: Any) -> None:
        self._server = server
        limits = httpx.Limits(max_connections=2 * CONCURRENCY)
        self._client = httpx.Client(base_url=server.listening_address, timeout=3600, limits=limits)

    def __call__(self, prompts: Prompts) -> list[int]:
        with ThreadPoolExecutor(CONCURRENCY) as threads:
            return list(threads.map(self._one, prompts))

    def _one(self, prompt: tuple[list[int], int]) -> int:
        body = {"prompt": prompt[0], "n_predict": prompt[1], "temperature": 0, "ignore_eos": True, "cache_prompt": True}
        found = self._client.post("/completion", json=body)
        found.raise_for_status()
        return int(found.json()["tokens_predicted"])


def load(model: Path, options: argparse.Namespace) -> Answer:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.n_parallel = CONCURRENCY
    parameters.n_ctx = CONCURRENCY * 1024
    parameters.kv_unified = True
    parameters.cpuparams.n_threads = 2
    parameters.cpuparams_batch.n_threads = 2
    return Client(xllamacpp.Server(parameters))


if __name__ == "__main__":
    run(load)
