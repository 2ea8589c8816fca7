"""Identification of files and folders by content, through the limited child, as the library uses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmos.errors import CorruptFile, InvalidValue, ModelFileError, NotFound, UnsafeFile
from llmos.library.inspect import inspect_model
from llmos.types import Family, Task
from tests.library.formats.builders import (
    BERT,
    GGUF_LLAMA,
    LLAMA,
    PICKLES,
    ctranslate2,
    folder,
    gguf,
    onnx,
    openvino,
    safetensors,
    zip_archive,
)

SOUND = {"config.json": LLAMA, "model.safetensors": safetensors(), "tokenizer.json": "{}"}


def test_smollm2(asset: Callable[[str], Path]) -> None:
    found = inspect_model(asset("smollm2"))
    assert (found.format, found.family, found.architecture, found.quantization) == ("gguf", Family.CAUSAL, "llama", "Q4_1")
    assert (found.parameters, found.context_length, found.memory_bytes) == (134_515_008, 8192, 98_362_432)
    assert (found.licence, found.languages, found.kv_bytes_per_token) == ("apache-2.0", ("en",), 30 * 3 * 128 * 2)
    assert found.tasks[:2] == (Task.GENERATE, Task.CHAT)
    (file,) = asset("smollm2").iterdir()
    assert inspect_model(file) == found


def test_minilm(asset: Callable[[str], Path]) -> None:
    found = inspect_model(asset("minilm"))
    assert (found.format, found.family, found.architecture, found.quantization) == ("safetensors", Family.ENCODER, "bert", "f32")
    assert (found.embedding_dim, found.context_length, found.parameters) == (384, 256, 22_713_728)
    assert found.files[0] == "model.safetensors" and "1_Pooling/config.json" in found.files
    assert ("README.md", "not needed by the model") in found.ignored


def test_bert_with_a_pickle_beside_it(asset: Callable[[str], Path]) -> None:
    found = inspect_model(asset("bert-tiny-mlm"))
    assert (found.family, found.embedding_dim, found.context_length) == (Family.MASKED, 128, 512)
    assert dict(found.ignored)["heads.pt"].startswith("a ZIP archive")
    assert "heads.pt" not in found.files


def test_qwen(asset: Callable[[str], Path]) -> None:
    found = inspect_model(asset("qwen"))
    assert (found.architecture, found.quantization, found.context_length) == ("qwen2", "Q4_K_M", 32768)
    assert found.kv_bytes_per_token == 28 * 2 * 256 * 2


@pytest.mark.parametrize(
    ("files", "kind", "main"),
    [
        (SOUND, "safetensors", "model.safetensors"),
        ({"weights": gguf()}, "gguf", "weights"),
        ({"config.json": BERT, "onnx/model.onnx": onnx(), "onnx/model_fp16.onnx": onnx()}, "onnx", "onnx/model.onnx"),
        (
            {"config.json": LLAMA, "openvino_model.xml": openvino(), "openvino_model.bin": b"\0" * 40},
            "openvino",
            "openvino_model.xml",
        ),
        ({"model.bin": ctranslate2(), "config.json": {}}, "ctranslate2", "model.bin"),
        (
            {
                "adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "b", "r": 1},
                "adapter_model.safetensors": safetensors(),
            },
            "peft",
            "adapter_config.json",
        ),
        (SOUND | {"onnx/model.onnx": onnx(), ".git/hooks/x.py": "print()"}, "safetensors", "model.safetensors"),
        ({"config.json": BERT, "renamed.bin": safetensors()}, "safetensors", "renamed.bin"),
    ],
)
def test_a_folder_is_identified_by_content(tmp_path: Path, files: dict[str, Any], kind: str, main: str) -> None:
    place = folder(tmp_path / "model", files)
    found = inspect_model(place)
    assert (found.format, found.files[0], found.folder) == (kind, main, str(place))
    assert all((place / name).is_file() for name in found.files)
    visible = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()} - {".git/hooks/x.py"}
    assert visible == set(found.files) | {name for name, _ in found.ignored}


def test_links_as_in_the_hub_cache_keep_their_names(tmp_path: Path) -> None:
    for name, value in SOUND.items():
        blob = tmp_path / "blobs" / str(len(name) * 7919)
        folder(blob.parent, {blob.name: value})
        link = tmp_path / "snapshots" / "main" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    assert inspect_model(tmp_path / "snapshots" / "main").files[0] == "model.safetensors"


AUTO_MAP = LLAMA | {"auto_map": {"AutoModel": "modeling_x.X"}}
REFUSED: dict[str, tuple[dict[str, Any], type[ModelFileError], str]] = {
    "only a pickle": ({"config.json": LLAMA, "pytorch_model.bin": zip_archive()}, UnsafeFile, "pytorch_model.bin is a ZIP archive"),
    "old pickle": ({"config.json": LLAMA, "model.pkl": PICKLES["protocol 0"]}, UnsafeFile, "model.pkl is a pickle"),
    "renamed archive": (SOUND | {"model.safetensors": zip_archive()}, UnsafeFile, "model.safetensors is a ZIP archive"),
    "renamed pickle beside": (SOUND | {"extra.json": PICKLES["protocol 4"]}, UnsafeFile, "under a name that hides it"),
    "polyglot": (SOUND | {"model.safetensors": safetensors() + zip_archive()}, UnsafeFile, "polyglot"),
    "remote code": (SOUND | {"config.json": AUTO_MAP}, UnsafeFile, "code of its own"),
    "python file": (SOUND | {"modeling_x.py": "print(1)"}, UnsafeFile, "program code"),
    "library": (SOUND | {"sub/x.so": b"\x7fELF" + b"\0" * 100}, UnsafeFile, "program code"),
    "program under an honest name": (SOUND | {"x.bin": b"\x7fELF" + b"\0" * 100}, UnsafeFile, "a program"),
    "web page": (SOUND | {"model.safetensors": "<!doctype html><p>Log in"}, UnsafeFile, "a web page"),
    "truncated": (SOUND | {"model.safetensors": safetensors()[:-4]}, CorruptFile, "only 20 are there"),
    "no config": ({"model.safetensors": safetensors()}, CorruptFile, "config.json is missing"),
    "nothing": ({"notes.txt": "hello"}, UnsafeFile, "in no known model format"),
    "unknown family": (SOUND | {"config.json": LLAMA | {"architectures": ["ViTModel"]}}, ModelFileError, "of no family"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_that_is_refused(tmp_path: Path, case: str) -> None:
    files, error, reason = REFUSED[case]
    with pytest.raises(error) as caught:
        inspect_model(folder(tmp_path / "model", files))
    assert reason in caught.value.message and type(caught.value) is error


@pytest.mark.parametrize("name", ["model.safetensors", "model.gguf", "model.onnx", "model"])
@pytest.mark.parametrize("data", [*PICKLES.values(), zip_archive(), b"#!/bin/sh\n"], ids=[*PICKLES, "zip", "script"])
def test_a_file_that_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UnsafeFile, match=name):
        inspect_model(tmp_path / name)


def test_no_code_runs_in_any_of_it(tmp_path: Path) -> None:
    """A pickle that would leave a trace, under every name that some loader might trust."""
    trace = tmp_path / "trace"
    attack = b"cos\nmkdir\n(V" + str(trace).encode() + b"\ntR."
    for name in ("model.safetensors", "model.gguf", "config.json", "pytorch_model.bin", "adapter_config.json", "tokenizer.json"):
        with pytest.raises(ModelFileError):
            inspect_model(folder(tmp_path / name, SOUND | {name: attack, "model.safetensors": attack}))
    assert not trace.exists()


def test_several_models_in_a_folder_are_for_the_user_to_choose(tmp_path: Path) -> None:
    place = folder(tmp_path / "m", {"a.Q4.gguf": gguf(), "b.Q8.gguf": gguf()})
    with pytest.raises(InvalidValue, match=r"a\.Q4\.gguf, b\.Q8\.gguf") as caught:
        inspect_model(place)
    assert caught.value.param == "path"
    assert inspect_model(place / "b.Q8.gguf").files == ("b.Q8.gguf",)


def test_a_file_that_needs_too_much_is_refused_by_the_limit(tmp_path: Path) -> None:
    """Six million small lists fit the size limit of a header but not the memory of the child."""
    raw = b'{"a":[' + b"[[]]," * 3_300_000 + b"[]]}"
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "model.safetensors").write_bytes(safetensors(raw))
    with pytest.raises(CorruptFile, match=r"model\.safetensors could not be read within the limits"):
        inspect_model(tmp_path / "model.safetensors")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing at"):
        inspect_model(tmp_path / "absent")


def test_too_many_files(tmp_path: Path) -> None:
    place = folder(tmp_path / "m", {f"{i}.txt": "" for i in range(2001)})
    with pytest.raises(InvalidValue, match="more than 2000 files"):
        inspect_model(place)


def test_metadata_survives_the_way_out_of_the_child(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf(GGUF_LLAMA | {"general.name": "Ünïcode ☃"}))
    assert inspect_model(tmp_path / "m.gguf").extra["title"] == "Ünïcode ☃"
