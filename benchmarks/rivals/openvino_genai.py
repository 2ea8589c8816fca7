"""OpenVINO GenAI used directly: the continuous-batching pipeline with prefix caching off, defaults otherwise."""

from __future__ import annotations

from pathlib import Path

from benchmarks.workload import Generate, run


def load(model: Path) -> Generate:
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = 1024
    scheduler.cache_size = 2
    pipeline = genai.ContinuousBatchingPipeline(str(model), scheduler, "CPU", {})

    def generate(prompts: list[list[int]], tokens: int) -> list[int]:
        config = genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos, config.do_sample = tokens, True, False
        tensors = [ov.Tensor(np.array([ids], dtype=np.int64)) for ids in prompts]
        answers = pipeline.generate(tensors, [config] * len(prompts))
        return [len(answer.m_generation_ids[0]) for answer in answers]

    return generate


if __name__ == "__main__":
    run(load)
