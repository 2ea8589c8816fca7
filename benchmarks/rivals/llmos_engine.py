"""LLMOS in process: the pool with its measured choice, sessions asked with token ids; the probe's table is made beforehand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.workload import Generate, run
from llmos import Settings
from llmos.engine.choice import Work
from llmos.types import Sampling


def load(model: Path, *, one_engine: bool = False) -> Generate:
    """one_engine: all work on the one for batches, as the server does; otherwise each kind on its own best."""
    from llmos.sdk.local import LocalTransport

    settings = Settings.from_env()
    transport = LocalTransport(settings, notify=lambda _: None)
    name = transport.library.import_path(model, name=f"bench-{model.stem.lower()}").name
    session = transport.pool.session(name)

    def generate(prompts: list[list[int]], tokens: int) -> list[int]:
        sampling = Sampling(max_tokens=tokens, temperature=0.0, ignore_eos=True)
        work: Work = "batch" if one_engine or len(prompts) > 1 else "prefill" if tokens == 1 else "decode"
        running = [session.complete(tuple(ids), sampling, work=work, stream=False) for ids in prompts]
        with ThreadPoolExecutor(len(running)) as threads:
            return list(threads.map(lambda one: len(one.result()[0].token_ids), running))

    return generate


if __name__ == "__main__":
    run(load)
