"""Which files of a repository are the model."""

from __future__ import annotations

import pytest

from llmos.errors import ModelFileError, NotFound, UnsafeFile
from llmos.library.sources.select import choose_files

BERT = [
    "config.json",
    "model.safetensors",
    "pytorch_model.bin",
    "tf_model.h5",
    "tokenizer.json",
    "vocab.txt",
    "README.md",
    "run.py",
]

SHARDED = ["config.json", *(f"model-0000{n}-of-00002.safetensors" for n in (1, 2)), "model.safetensors.index.json"]
SPLIT = ["x-00001-of-00002.gguf", "x-00002-of-00002.gguf"]
PEFT = ["adapter_config.json", "adapter_model.safetensors", "config.json"]
ONNX = ["config.json", "onnx/model.onnx", "onnx/model.onnx_data"]
MINILM = [
    "1_Pooling/config.json",
    "2_Dense/model.safetensors",
    "config.json",
    "model.safetensors",
    "modules.json",
    "tokenizer.json",
    "vocab.txt",
]


@pytest.mark.parametrize(
    ("names", "want", "taken"),
    [
        (BERT, "", ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"]),
        (
            [*SHARDED, "consolidated.safetensors", "original/x.safetensors"],
            "",
            SHARDED,
        ),
        (["a-q8_0.gguf", "a-Q4_K_M.gguf", "a-f16.gguf", "mmproj-f16.gguf"], "", ["a-Q4_K_M.gguf"]),
        (["a-q8_0.gguf", "a-Q4_K_M.gguf"], "a-q8_0.gguf", ["a-q8_0.gguf"]),
        (["a-q8_0.gguf", "a-Q4_K_M.gguf", "b-Q4_K_M.gguf"], "b*", ["b-Q4_K_M.gguf"]),
        (SPLIT, SPLIT[0], SPLIT),
        (PEFT, "", PEFT),
        (["model.bin", "config.json", "shared_vocabulary.json"], "", ["config.json", "model.bin", "shared_vocabulary.json"]),
        (["openvino_model.xml", "openvino_model.bin", "config.json"], "", ["config.json", "openvino_model.bin", "openvino_model.xml"]),
        ([*ONNX, "onnx/model_quantized.onnx"], "", ONNX),
        (
            [*BERT, "modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin"],
            "",
            MINILM,
        ),
    ],
)  # fmt: skip
def test_choice(names: list[str], want: str, taken: list[str]) -> None:
    choice = choose_files(names, want=want)
    assert list(choice.files) == taken
    assert sorted([*choice.files, *choice.skipped]) == sorted(names)


def test_pickled_weights_alone_are_refused() -> None:
    with pytest.raises(UnsafeFile, match=r"pytorch_model\.bin.*any code"):
        choose_files(["config.json", "pytorch_model.bin"])


def test_nothing_to_choose() -> None:
    with pytest.raises(ModelFileError, match="among 1 files"):
        choose_files(["README.md"])


def test_unknown_file_gets_a_hint() -> None:
    with pytest.raises(NotFound, match=r"Did you mean .*a-q8_0\.gguf"):
        choose_files(["a-q8_0.gguf"], want="a-q8.gguf")


def test_missing_part() -> None:
    with pytest.raises(NotFound, match="1 of 2 parts"):
        choose_files(["x-00001-of-00002.gguf"], want="x-00001-of-00002.gguf")
