"""PEFT adapters: a real one from peft, and the ways an adapter can bring code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmos.errors import CorruptFile, ModelFileError, UnsafeFile
from llmos.library.formats.base import Inspection
from llmos.library.formats.peft import PeftFormat
from llmos.types import Family
from tests.library.formats.builders import folder, safetensors

CONFIG = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8}


def inspect(place: Path, config: dict[str, Any]) -> Inspection:
    folder(place, {"adapter_config.json": config})
    return PeftFormat().inspect(place / "adapter_config.json", place)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks transformers for it
def test_an_adapter_as_peft_saves_it(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20}
    base = LlamaForCausalLM(LlamaConfig(**sizes))
    model = get_peft_model(base, LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    base.config.save_pretrained(tmp_path / "base")
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    model.save_pretrained(tmp_path)
    path = tmp_path / "adapter_config.json"
    assert PeftFormat().sniff(path.read_bytes(), path)
    found = PeftFormat().inspect(path, tmp_path)
    assert (found.format, found.family, found.base_model, found.parameters) == ("peft", Family.CAUSAL, str(tmp_path / "base"), 64)
    assert found.extra == {"peft_type": "LORA", "rank": "2", "alpha": "6", "base_revision": ""}
    assert found.files == ("adapter_config.json", "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("further", "error", "reason"),
    [
        ({"auto_mapping": {"base_model_class": "X", "parent_library": "evil.module"}}, UnsafeFile, "code of its own"),
        ({"auto_mapping": {"parent_library": "transformers.models.llama; import os"}}, UnsafeFile, "code of its own"),
        ({"auto_map": {"AutoModel": "x.Y"}}, UnsafeFile, "code of its own"),
        ({"peft_type": "PREFIX_TUNING"}, ModelFileError, "PREFIX_TUNING cannot be used"),
        ({"peft_type": None}, CorruptFile, "peft_type"),
        ({"base_model_name_or_path": None}, CorruptFile, "base_model_name_or_path"),
        ({"task_type": "PAINT"}, ModelFileError, "'PAINT' is unknown"),
        ({"r": "four"}, CorruptFile, "r is four"),
    ],
)
def test_what_is_refused(tmp_path: Path, further: dict[str, Any], error: type[ModelFileError], reason: str) -> None:
    folder(tmp_path, {"adapter_model.safetensors": safetensors()})
    with pytest.raises(error) as caught:
        inspect(tmp_path, CONFIG | further)
    assert reason in caught.value.message


def test_only_safetensors_weights_are_read(tmp_path: Path) -> None:
    folder(tmp_path, {"adapter_model.bin": b"\x80\x04]."})
    with pytest.raises(CorruptFile, match=r"adapter_model\.bin is a pickle"):
        inspect(tmp_path, CONFIG)


def test_mapping_to_a_class_of_transformers_is_fine(tmp_path: Path) -> None:
    folder(tmp_path, {"adapter_model.safetensors": safetensors()})
    mapping = {"base_model_class": "BertModel", "parent_library": "transformers.models.bert.modeling_bert"}
    assert inspect(tmp_path, CONFIG | {"auto_mapping": mapping}).parameters == 6
