"""The parsers under fire: a name, sound inputs to damage, and a call that may only succeed or refuse.

Add a target with one line in TARGETS.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmos.data.readers.base import Unreadable
from llmos.errors import CorruptFile, InvalidValue, LLMOSError, ModelFileError, UnsafeFile
from llmos.infra.gguf import read_gguf
from llmos.library.formats import content
from llmos.library.formats.config import read_config
from llmos.library.formats.ctranslate2 import read_ctranslate2
from llmos.library.formats.gguf import GGUFFormat
from llmos.library.formats.onnx import read_onnx
from llmos.library.formats.openvino import read_openvino
from llmos.library.formats.peft import PeftFormat
from llmos.library.formats.safetensors import read_safetensors
from tests.fuzz import bodies, rows, texts
from tests.library.formats.builders import (
    BERT,
    GGUF_LLAMA,
    LLAMA,
    PICKLES,
    ctranslate2,
    gguf,
    onnx,
    onnx_tensor,
    openvino,
    pb,
    safetensors,
    zip_archive,
)


@dataclass(frozen=True)
class Target:
    """file: name of the input in a scratch folder. call: reads it. refusal: what damaged input must be seen to raise; others:
    what it may raise as well."""

    file: str
    seeds: tuple[bytes, ...]
    call: Callable[[Path], object]
    refusal: type[LLMOSError] = CorruptFile
    others: type[LLMOSError] = ModelFileError


def _dump(value: object) -> bytes:
    return json.dumps(value).encode()


def _read_gguf(path: Path) -> None:
    read_gguf(path)
    read_gguf(path, skip_arrays_over=1)
    GGUFFormat().inspect(path, path.parent)


def _openvino(path: Path) -> None:
    path.with_suffix(".bin").write_bytes(b"\0" * 40)
    read_openvino(path)


def _adapter(path: Path) -> None:
    (path.parent / "adapter_model.safetensors").write_bytes(safetensors())
    PeftFormat().inspect(path, path.parent)


_CLASSIFIER = BERT | {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "a", "1": "b"}}
_ADAPTER = {
    "peft_type": "LORA",
    "base_model_name_or_path": "x",
    "task_type": "CAUSAL_LM",
    "r": 4,
    "auto_mapping": {"parent_library": "transformers"},
}

TARGETS: dict[str, Target] = {
    "gguf": Target("m.gguf", (gguf(), gguf(GGUF_LLAMA | {"a": [[1, 2], [3]], "f": [0.5]}), gguf(version=2)), _read_gguf),
    "safetensors": Target(
        "m.safetensors",
        (safetensors(), safetensors({"w": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}, b"\0" * 8)),
        read_safetensors,
    ),
    "onnx": Target(
        "m.onnx",
        (
            onnx(),
            onnx(attribute=pb(6, pb(1, pb(4, "If")))),
            onnx(tensors=[onnx_tensor((4,), external={"location": "w", "offset": "0"})]),
        ),
        read_onnx,
    ),
    "openvino": Target("m.xml", (openvino().encode(),), _openvino),
    "ctranslate2": Target("model.bin", (ctranslate2(),), read_ctranslate2),
    "config": Target("config.json", (_dump(BERT), _dump(LLAMA), _dump(_CLASSIFIER)), lambda path: read_config(path.parent).tasks),
    "adapter": Target("adapter_config.json", (_dump(_ADAPTER),), _adapter),
    "content": Target("file", (*PICKLES.values(), zip_archive(), b"#!x", gguf()), content.check, UnsafeFile),
    "tokenizer": Target("tokenizer.json", texts.TOKENIZERS, texts.tokenizer),
    "template": Target("chat_template.jinja", texts.TEMPLATES, texts.template, ModelFileError, InvalidValue),
    "name": Target("name", texts.NAMES, texts.name, InvalidValue),
    "path": Target("path", texts.PATHS, texts.inner_path, InvalidValue),
    "url": Target("url", texts.URLS, texts.url, InvalidValue),
    "body": Target("body", bodies.BODIES, bodies.body, InvalidValue),
    **{name: Target(name, seeds, call, told, Unreadable) for name, (seeds, call, told) in rows.ROWS.items()},
}
