"""xllamacpp's own HTTP server (llama.cpp's server in a wheel), asked over loopback by one client, with a slot for each prompt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from benchmarks.workload import Generate, run


def load(model: Path) -> Generate:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.n_parallel = 32
    parameters.n_ctx = 32 * 256 + 2048
    parameters.kv_unified = True
    parameters.cpuparams.n_threads = 2
    parameters.cpuparams_batch.n_threads = 2
    server = xllamacpp.Server(parameters)
    client = httpx.Client(base_url=server.listening_address, timeout=600, limits=httpx.Limits(max_connections=64))

    def one(ids: list[int], tokens: int) -> int:
        body = {"prompt": ids, "n_predict": tokens, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        answer = client.post("/completion", json=body)
        answer.raise_for_status()
        return int(answer.json()["tokens_predicted"])

    def generate(prompts: list[list[int]], tokens: int) -> list[int]:
        with ThreadPoolExecutor(len(prompts)) as threads:
            return list(threads.map(lambda ids: one(ids, tokens), prompts))

    generate.keep = server  # type: ignore[attr-defined]  # the server lives as long as the function
    return generate


if __name__ == "__main__":
    run(load)
