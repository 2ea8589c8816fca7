"""Classification as one writes it with transformers alone: the yardstick for the accuracy of `predict`. Knows nothing of LLMOS.

CausalModel     GGUF weights dequantised; the prompt through the model's own chat template and tokenizer, as one text; for each
                label the sum of its tokens' log-probabilities with the end of the turn; the largest wins. Calibrated: divided by
                the mean share of each label over three texts that say nothing (Zhao et al. 2021).
by_similarity   mean of the token vectors, cosine with the labels' sentences; the largest wins
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

QUESTION = "Choose the label that fits the text best.\n\nLabels:\n{labels}\n\nText:\n{text}\n\nAnswer with the label only."
SENTENCE = "This text is about {label}."
CONTENT_FREE = ("N/A", "[MASK]", "")


class CausalModel:
    """folder: with one GGUF file. dtype: bf16 or f32."""

    def __init__(self, folder: Path, dtype: str) -> None:
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()
        file = next(folder.glob("*.gguf")).name
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
        kind = {"bf16": torch.bfloat16, "f32": torch.float32}[dtype]
        whole = transformers.GgufConfig(dequantize=True)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, dtype=kind, quantization_config=whole
        ).eval()

    def prompt(self, text: str, labels: Sequence[str]) -> str:
        """The whole prompt, as the model's template writes it."""
        question = QUESTION.replace("{labels}", "\n".join(f"- {label}" for label in labels)).replace("{text}", text)
        asked = [{"role": "user", "content": question}]
        rendered: str = self.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        return rendered

    def answers(self, texts: Sequence[str], labels: Sequence[str]) -> tuple[list[str], list[str]]:
        """The likeliest label of each text, without and with calibration."""
        import torch

        with torch.inference_mode():
            free = torch.stack([self._scores(text, labels).softmax(0) for text in CONTENT_FREE]).mean(0)
            rows = [self._scores(text, labels) for text in texts]
        calibrated = [row - free.log() for row in rows]
        return [labels[int(row.argmax())] for row in rows], [labels[int(row.argmax())] for row in calibrated]

    def _scores(self, text: str, labels: Sequence[str]) -> Any:
        """[labels] log P(label, end of turn | prompt), in f32. The prompt runs once; each label goes on from a copy of its cache."""
        import torch

        prompt = self.tokenizer(self.prompt(text, labels), return_tensors="pt", add_special_tokens=False).input_ids
        begun = self.model(prompt, use_cache=True, logits_to_keep=1)
        scores = []
        for label in labels:
            ids = self.tokenizer(f"{label}<|im_end|>", return_tensors="pt", add_special_tokens=False).input_ids
            going_on = self.model(ids, past_key_values=copy.deepcopy(begun.past_key_values))
            logits = torch.cat([begun.logits[0, -1:], going_on.logits[0, :-1]]).float()
            scores.append(logits.log_softmax(-1).gather(1, ids[0][:, None]).sum())
        return torch.stack(scores)


def by_similarity(folder: Path, texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    """The label whose sentence points most nearly where the text points."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def vector(text: str) -> Any:
        given = tokenizer(text, return_tensors="pt")
        return torch.nn.functional.normalize(model(**given).last_hidden_state.mean(1)[0], dim=0)

    with torch.inference_mode():
        wanted = torch.stack([vector(SENTENCE.replace("{label}", label)) for label in labels])
        return [labels[int((wanted @ vector(text)).argmax())] for text in texts]
