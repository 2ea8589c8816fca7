"""OpenVINO GenAI driven directly: the whole batch in one call of its continuous-batching pipeline, with or without its prefix cache."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.rivals.batch_work import Answer, Prompts, run


def load(model: Path, options: argparse.Namespace) -> Answer:
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = 1024
    scheduler.cache_size = 2
    scheduler.enable_prefix_caching = options.prefix_cache
    pipeline = genai.ContinuousBatchingPipeline(str(model), scheduler, "CPU", {})

    def answer(prompts: Prompts) -> list[int]:
        tensors, configs = [], []
        for ids, tokens in prompts:
            config = genai.GenerationConfig()
            config.max_new_tokens, config.ignore_eos, config.do_sample = tokens, True, False
            configs.append(config)
            tensors.append(ov.Tensor(np.array([ids], dtype=np.int64)))
        return [len(one.m_generation_ids[0]) for one in pipeline.generate(tensors, configs)]

    return answer


if __name__ == "__main__":
    run(load)
