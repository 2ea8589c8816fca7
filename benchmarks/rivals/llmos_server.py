"""LLMOS over HTTP: `llmos serve` in a process of its own, asked for completions of token ids by one client, as the rival servers are."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from benchmarks.workload import Generate, run
from llmos import Settings
from llmos.library.library import Library


def load(model: Path) -> Generate:
    name = Library.open(Settings.from_env()).import_path(model, name=f"bench-{model.stem.lower()}").name
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "llmos", "serve", "--port", str(port), "--model", name]
    server = subprocess.Popen(command, env=os.environ | {"LLMOS_LOG_LEVEL": "WARNING", "LLMOS_KEEP_ALIVE": "-1"})
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600, limits=httpx.Limits(max_connections=64))
    _wait(client, server)

    def one(ids: list[int], tokens: int) -> int:
        body = {"model": name, "prompt": ids, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        answer = client.post("/v1/completions", json=body)
        answer.raise_for_status()
        return int(answer.json()["usage"]["completion_tokens"])

    def generate(prompts: list[list[int]], tokens: int) -> list[int]:
        with ThreadPoolExecutor(len(prompts)) as threads:
            return list(threads.map(lambda ids: one(ids, tokens), prompts))

    generate.stop = server.terminate  # type: ignore[attr-defined]  # workload.run ends the server with the process
    return generate


def _wait(client: httpx.Client, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"llmos serve ended with {server.returncode}")


if __name__ == "__main__":
    run(load)
