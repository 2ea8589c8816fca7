"""transformers' continuous batching in bf16 on the same weights, dequantised from the GGUF file."""

from __future__ import annotations

from pathlib import Path

from benchmarks.workload import Generate, run


def load(model: Path) -> Generate:
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig, GgufConfig

    torch.set_num_threads(2)
    loaded = AutoModelForCausalLM.from_pretrained(
        model.parent,
        gguf_file=model.name,
        dtype=torch.bfloat16,
        attn_implementation="sdpa",
        quantization_config=GgufConfig(dequantize=True),
    ).eval()

    def generate(prompts: list[list[int]], tokens: int) -> list[int]:
        config = GenerationConfig(max_new_tokens=tokens, do_sample=False, eos_token_id=-1, pad_token_id=0)
        answers = loaded.generate_batch(prompts, generation_config=config, progress_bar=False)
        return [len(answer.generated_tokens) for answer in answers.values()]

    return generate


if __name__ == "__main__":
    run(load)
