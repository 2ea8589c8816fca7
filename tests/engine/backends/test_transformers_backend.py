"""What the backend says it can do, and which files it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmos.engine.backends.transformers.backend import TransformersBackend, variants
from llmos.engine.base import Feature
from llmos.errors import CorruptFile, EngineError
from llmos.types import Family
from tests.engine.backends import tiny


def test_importing_the_backend_imports_no_torch() -> None:
    code = "import sys, llmos.engine.backends.transformers.backend; print('torch' in sys.modules, 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == [
        "False",
        "False",
    ]


def test_it_names_its_versions() -> None:
    found = TransformersBackend().availability()
    assert found.ok
    assert torch.__version__.split("+")[0] in found.version and "transformers" in found.version


@pytest.mark.parametrize(
    ("family", "feature"),
    [
        (Family.CAUSAL, Feature.ADAPTERS),
        (Family.SEQ2SEQ, Feature.BEAMS),
        (Family.MASKED, Feature.FILL_MASK),
        (Family.ENCODER, Feature.EMBED),
        (Family.CLASSIFIER, Feature.CLASSIFY),
        (Family.TAGGER, Feature.TAG),
    ],
)
def test_each_family_is_served_from_safetensors(family: Family, feature: Feature) -> None:
    support = TransformersBackend().supports(tiny.card(family))
    assert support.ok and feature in support.features
    assert "f32" in [variant.name for variant in support.variants]


@pytest.mark.parametrize(
    ("sets", "names"),
    [(("avx2", "amx_bf16"), ["f32", "bf16"]), (("avx2", "avx512_bf16"), ["f32", "bf16"]), (("avx2",), ["f32"])],
)
def test_bf16_is_tried_where_the_cpu_multiplies_it(sets: tuple[str, ...], names: list[str]) -> None:
    assert [variant.name for variant in variants(sets)] == names


def test_other_families_and_formats_are_declined_with_the_reason() -> None:
    backend = TransformersBackend()
    assert "remote" in backend.supports(tiny.card(Family.REMOTE, format_="remote")).why
    assert not backend.supports(tiny.card(Family.ENCODER, format_="gguf")).ok
    assert "onnx" in backend.supports(tiny.card(Family.CAUSAL, format_="onnx")).why


def test_weights_that_are_missing_are_never_made_up(tmp_path: Path) -> None:
    tiny.save(tmp_path, "LlamaForCausalLM", tiny.llama())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CorruptFile, match=r"layers\.1\.mlp\.up_proj"):
        tiny.load(tmp_path, Family.CAUSAL)


def test_an_encoder_is_not_served_as_a_classifier_with_a_random_head(tmp_path: Path) -> None:
    tiny.save(tmp_path, "BertModel", tiny.bert())
    with pytest.raises(CorruptFile, match="classifier"):
        tiny.load(tmp_path, Family.CLASSIFIER)


def test_weights_of_a_wrong_shape_are_refused(tmp_path: Path) -> None:
    tiny.save(tmp_path, "LlamaForCausalLM", tiny.llama())
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"][:50].contiguous()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises((CorruptFile, EngineError), match=r"lm_head|shape|size"):
        tiny.load(tmp_path, Family.CAUSAL)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    tiny.save(tmp_path, "LlamaForCausalLM", tiny.llama())
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CorruptFile, match="cannot be read"):
        tiny.load(tmp_path, Family.CAUSAL)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    reference = tiny.save(tmp_path, "LlamaForCausalLM", tiny.llama())
    (tmp_path / "model.safetensors").unlink()
    torch.save(reference.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(EngineError, match=r"model\.safetensors"):
        tiny.load(tmp_path, Family.CAUSAL)


def test_code_beside_the_weights_does_not_run(tmp_path: Path) -> None:
    import json

    tiny.save(tmp_path, "LlamaForCausalLM", tiny.llama())
    proof = tmp_path / "ran"
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "code.py").write_text(f"open({str(proof)!r}, 'w').close()")
    with pytest.raises(EngineError):
        tiny.load(tmp_path, Family.CAUSAL)
    assert not proof.exists()
