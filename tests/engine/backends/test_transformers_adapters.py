"""LoRA adapters on one loaded model: equal to PEFT's own, mixed with plain requests in one loop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from llmos.engine.base import Adapter, Engine, ScoreItem
from llmos.errors import InvalidValue, ModelFileError, UnsafeFile
from llmos.types import Family, TokenIds
from tests.engine.backends import tiny

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # of peft itself
PROMPT: TokenIds = (10, 20, 30, 40)


@dataclass
class Case:
    engine: Engine
    folder: Path
    adapters: list[Adapter]

    def reference(self, adapter: Adapter | None) -> Any:
        import transformers
        from peft import PeftModel

        base = transformers.AutoModelForCausalLM.from_pretrained(self.folder)
        return (PeftModel.from_pretrained(base, adapter.folder) if adapter else base).eval()

    def greedy(self, adapter: Adapter | None, num: int) -> list[int]:
        made = self.reference(adapter).generate(
            input_ids=torch.tensor([PROMPT]), max_new_tokens=num, do_sample=False, pad_token_id=0
        )
        return [token for token in made[0, len(PROMPT) :].tolist() if token != 1]


def make_adapter(base: Path, folder: Path, seed: int, **config: Any) -> Path:
    import transformers
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, lora_alpha=8, **config))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.5)
    model.save_pretrained(folder, save_embedding_layers=False)
    return folder


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("base")
    tiny.save(folder, "LlamaForCausalLM", tiny.llama())
    targets = (["q_proj", "v_proj"], ["q_proj", "down_proj", "lm_head"])
    adapters = [
        Adapter(name=f"a{i}", folder=make_adapter(folder, tmp_path_factory.mktemp("lora"), i, target_modules=target))
        for i, target in enumerate(targets)
    ]
    case = Case(tiny.load(folder, Family.CAUSAL), folder, adapters)
    yield case
    case.engine.close()


def test_requests_with_and_without_adapters_run_side_by_side(case: Case) -> None:
    wanted: list[Adapter | None] = [None, *case.adapters, None, case.adapters[0]]
    handles = [case.engine.submit(tiny.request(PROMPT, max_tokens=12, adapter=adapter)) for adapter in wanted]
    found = [tiny.tokens(handle) for handle in handles]
    expected = [case.greedy(adapter, 12) for adapter in wanted]
    assert found == expected
    assert len({tuple(answer) for answer in found}) == 3  # the adapters do something, and not the same


def test_scores_are_those_of_the_adapter(case: Case) -> None:
    item = ScoreItem(prompt=PROMPT, continuations=((50, 51),))
    for adapter in (case.adapters[1], None, case.adapters[0]):
        with torch.no_grad():
            logits = case.reference(adapter)(input_ids=torch.tensor([(*PROMPT, 50)])).logits[0].log_softmax(-1)
        (result,) = case.engine.score([item], adapter=adapter)
        assert [entry.logprob for entry in result.continuations[0]] == pytest.approx(
            [float(logits[-2, 50]), float(logits[-1, 51])], abs=2e-4
        )


def test_scale_zero_is_the_plain_model(case: Case) -> None:
    off = Adapter(name="off", folder=case.adapters[0].folder, scale=0.0)
    assert tiny.tokens(case.engine.submit(tiny.request(PROMPT, max_tokens=12, adapter=off))) == case.greedy(None, 12)


def test_old_adapters_make_room_for_new_ones(case: Case) -> None:
    from llmos.engine.backends.transformers.adapters import MAX_LOADED

    for number in range(MAX_LOADED + 2):
        adapter = Adapter(name="scaled", folder=case.adapters[0].folder, scale=number / 10)
        assert tiny.tokens(case.engine.submit(tiny.request(PROMPT, max_tokens=2, adapter=adapter)))
    again = case.engine.submit(tiny.request(PROMPT, max_tokens=12, adapter=case.adapters[1]))
    assert tiny.tokens(again) == case.greedy(case.adapters[1], 12)


def test_an_adapter_that_cannot_be_applied_fails_its_request_only(case: Case, tmp_path: Path) -> None:
    import shutil

    def broken(name: str) -> Path:
        return Path(shutil.copytree(case.adapters[0].folder, tmp_path / name))

    pickled, other, foreign = broken("pickled"), broken("other"), broken("foreign")
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "LOHA"}))
    (foreign / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["nothing_here"]}))
    cases = [(pickled, UnsafeFile), (other, InvalidValue), (foreign, ModelFileError), (tmp_path, InvalidValue)]
    for folder, error in cases:
        handle = case.engine.submit(tiny.request(PROMPT, adapter=Adapter(name="bad", folder=folder)))
        with pytest.raises(error):
            list(handle)
    rank = broken("rank")
    (rank / "adapter_config.json").write_text(json.dumps(config | {"r": 7}))
    with pytest.raises(ModelFileError):
        list(case.engine.submit(tiny.request(PROMPT, adapter=Adapter(name="bad", folder=rank))))
    assert tiny.tokens(case.engine.submit(tiny.request(PROMPT, max_tokens=12))) == case.greedy(None, 12)
    adapted = case.engine.submit(tiny.request(PROMPT, max_tokens=12, adapter=case.adapters[0]))
    assert tiny.tokens(adapted) == case.greedy(case.adapters[0], 12)
