"""GGUF as a model: family, sizes, numbered parts, and what is not a language model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from llmos.errors import CorruptFile, InvalidValue, ModelFileError, UnsafeFile
from llmos.library.formats.base import Inspection
from llmos.library.formats.gguf import GGUFFormat
from llmos.types import Family, Task
from tests.library.formats.builders import GGUF_LLAMA, gguf


def inspect(tmp_path: Path, metadata: dict[str, Any], name: str = "m.gguf") -> Inspection:
    (tmp_path / name).write_bytes(gguf(metadata))
    return GGUFFormat().inspect(tmp_path / name, tmp_path)


def test_what_a_card_needs(tmp_path: Path) -> None:
    found = inspect(tmp_path, GGUF_LLAMA)
    assert (found.format, found.family, found.architecture, found.quantization) == ("gguf", Family.CAUSAL, "llama", "F32")
    assert (found.parameters, found.context_length, found.memory_bytes) == (128, 128, (tmp_path / "m.gguf").stat().st_size)
    assert found.kv_bytes_per_token == 2 * 2 * (16 + 16) * 2  # layers, heads, key and value of 16, 16 bits
    assert found.chat_template_sha256 == hashlib.sha256(GGUF_LLAMA["tokenizer.chat_template"].encode()).hexdigest()
    assert (found.licence, found.languages, found.files, found.embedding_dim) == ("mit", ("en", "fr"), ("m.gguf",), 0)
    assert Task.CHAT in found.tasks
    assert found == Inspection.from_json(found.to_json())


@pytest.mark.parametrize(
    ("architecture", "further", "family", "tasks"),
    [
        ("bert", {}, Family.ENCODER, (Task.EMBED, Task.PREDICT)),
        ("qwen3", {"qwen3.pooling_type": 3}, Family.ENCODER, (Task.EMBED, Task.PREDICT)),
        ("bert", {"bert.pooling_type": 4}, Family.CLASSIFIER, (Task.RERANK,)),
        ("t5", {}, Family.SEQ2SEQ, (Task.GENERATE, Task.SUMMARIZE, Task.TRANSLATE, Task.PREDICT, Task.SCORE)),
        ("mamba", {}, Family.CAUSAL, (Task.GENERATE, Task.PREDICT, Task.SCORE)),
    ],
)
def test_families(tmp_path: Path, architecture: str, further: dict[str, Any], family: Family, tasks: tuple[Task, ...]) -> None:
    found = inspect(tmp_path, {"general.architecture": architecture, f"{architecture}.embedding_length": 48} | further)
    assert (found.family, found.tasks) == (family, tasks)
    assert found.embedding_dim == (48 if family is Family.ENCODER else 0)
    assert found.quantization == "F32"  # no file_type: the type of most bytes


def test_heads_that_differ_from_layer_to_layer(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"llama.attention.head_count": [4, 8], "llama.attention.head_count_kv": [2, 0]}
    sizes |= {"llama.attention.key_length": 10, "llama.attention.value_length": 6}
    assert inspect(tmp_path, GGUF_LLAMA | sizes).kv_bytes_per_token == 2 * (10 + 6) * 2


@pytest.mark.parametrize(
    ("metadata", "error", "reason"),
    [
        ({"general.architecture": "clip"}, ModelFileError, "a vision projector"),
        ({"general.architecture": "llama", "general.type": "adapter"}, ModelFileError, "a LoRA adapter in GGUF"),
        ({}, CorruptFile, "general.architecture is missing"),
        ({"general.architecture": 7}, CorruptFile, "general.architecture is '7'; a text"),
        (GGUF_LLAMA | {"llama.context_length": "8192"}, CorruptFile, "llama.context_length is '8192'; a number"),
        (GGUF_LLAMA | {"llama.attention.head_count_kv": ["x"]}, CorruptFile, "head_count_kv"),
        (GGUF_LLAMA | {"llama.embedding_length": True}, CorruptFile, "embedding_length is 'True'"),
        (GGUF_LLAMA | {"split.count": 3}, CorruptFile, "one of 3 parts"),
    ],
)
def test_what_is_no_model_is_said(tmp_path: Path, metadata: dict[str, Any], error: type[ModelFileError], reason: str) -> None:
    with pytest.raises(error) as caught:
        inspect(tmp_path, metadata)
    assert reason in caught.value.message and type(caught.value) is error


def test_a_vocabulary_alone_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "v.gguf").write_bytes(gguf(tensors=[]))
    with pytest.raises(ModelFileError, match="no weights"):
        GGUFFormat().inspect(tmp_path / "v.gguf", tmp_path)


@pytest.mark.parametrize("behind", [b"\x01", b"\x00" * 33, b"\x7fELF" + b"\x00" * 100])
def test_data_behind_the_last_tensor_is_refused(tmp_path: Path, behind: bytes) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf() + behind)
    with pytest.raises(UnsafeFile, match=f"{len(behind)} bytes lie behind"):
        GGUFFormat().inspect(tmp_path / "m.gguf", tmp_path)


def test_padding_of_the_last_tensor_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf(tensors=[("t", (5,), 0, 0, 20)]) + b"\x00" * 12)
    assert GGUFFormat().inspect(tmp_path / "m.gguf", tmp_path).parameters == 5


def test_numbered_parts_are_one_model(tmp_path: Path) -> None:
    parts = [tmp_path / f"m-{i:05d}-of-00002.gguf" for i in (1, 2)]
    parts[0].write_bytes(gguf(GGUF_LLAMA | {"split.count": 2}))
    with pytest.raises(CorruptFile, match=r"1 of 2 parts are missing: m-00002-of-00002\.gguf"):
        GGUFFormat().inspect(parts[0], tmp_path)
    parts[1].write_bytes(gguf({"split.count": 2}, [("more", (8,), 0, 0, 32)]))
    known = GGUFFormat()
    found = known.inspect(known.choose(parts), tmp_path)
    assert (found.parameters, found.files) == (136, (parts[0].name, parts[1].name))


def test_of_several_models_the_user_chooses(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"2 gguf models: a\.gguf, b\.gguf"):
        GGUFFormat().choose([tmp_path / "a.gguf", tmp_path / "b.gguf"])
