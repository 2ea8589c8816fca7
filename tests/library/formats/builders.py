"""Writes small model files of every format byte by byte, sound ones and hostile ones. Independent of the readers under test."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BERT = {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 8, "max_position_embeddings": 64}
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}


# -- GGUF ------------------------------------------------------------------------------------------------------------------
def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def gguf_value(value: Any) -> bytes:
    """type and value: bool, int (uint32), float (float32), str, list of one of them."""
    if isinstance(value, list):
        parts = [gguf_value(item) for item in value]
        return (
            struct.pack("<I", 9)
            + (parts[0][:4] if parts else struct.pack("<I", 4))
            + struct.pack("<Q", len(parts))
            + b"".join(p[4:] for p in parts)
        )
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    return struct.pack("<I", 8) + text(value)


GGUF_LLAMA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "general.license": "mit",
    "general.languages": ["en", "fr"],
    "general.file_type": 0,
    "llama.block_count": 2,
    "llama.context_length": 128,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["a", "b", "é"],
    "tokenizer.chat_template": "{{ messages[0].content }}",
}
Tensor = tuple[str, Sequence[int], int, int, int]  # name, shape, type, offset, bytes


def gguf(
    metadata: Mapping[str, Any] | None = None, tensors: Sequence[Tensor] | None = None, *, version: int = 3, extra_bytes: int = 0
) -> bytes:
    metadata = GGUF_LLAMA if metadata is None else metadata
    tensors = (
        [("token_embd.weight", (32, 3), 0, 0, 384), ("output_norm.weight", (32,), 0, 384, 128)] if tensors is None else tensors
    )
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    header += b"".join(text(key) + gguf_value(value) for key, value in metadata.items())
    for name, shape, kind, offset, _ in tensors:
        header += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    header += b"\x00" * (-len(header) % 32)
    return header + b"\x01" * (max((offset + size for *_, offset, size in tensors), default=0) + extra_bytes)


# -- safetensors -----------------------------------------------------------------------------------------------------------
def safetensors(header: Any = None, data: bytes = b"\x00" * 24) -> bytes:
    if header is None:
        header = {"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def folder(path: Path, files: Mapping[str, Any]) -> Path:
    """Files as bytes, text, or anything else as JSON."""
    for name, value in files.items():
        place = path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode())
    return path


# -- CTranslate2 -----------------------------------------------------------------------------------------------------------
def ct2_text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\x00"


def ctranslate2(
    *, spec: str = "TransformerSpec", variables: Sequence[tuple[str, Sequence[int], int, bytes]] | None = None
) -> bytes:
    if variables is None:
        variables = [
            ("decoder/embeddings/weight", (4, 2), 0, b"\x00" * 32),
            ("encoder/position_encodings/encodings", (16, 2), 4, b"\x00" * 64),
        ]
    out = struct.pack("<I", 6) + ct2_text(spec) + struct.pack("<II", 7, len(variables))
    for name, shape, kind, data in variables:
        out += ct2_text(name) + struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, kind, len(data)) + data
    return out + struct.pack("<I", 1) + ct2_text("encoder/embeddings/weight") + ct2_text(variables[0][0])


# -- ONNX ------------------------------------------------------------------------------------------------------------------
def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def pb(number: int, value: int | bytes | str) -> bytes:
    """One protobuf field: a varint for int, length-delimited for bytes and text."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def onnx_tensor(
    dims: Sequence[int], raw: bytes | None = None, *, kind: int = 1, external: Mapping[str, str] | None = None
) -> bytes:
    out = b"".join(pb(1, dim) for dim in dims) + pb(2, kind) + pb(8, "w")
    if raw is not None:
        out += pb(9, raw)
    for key, value in (external or {}).items():
        out += pb(13, pb(1, key) + pb(2, value))
    return out


def onnx(*, tensors: Sequence[bytes] | None = None, domain: str = "", attribute: bytes = b"") -> bytes:
    tensors = [onnx_tensor((2, 3), b"\x00" * 24)] if tensors is None else tensors
    node = pb(1, "x") + pb(2, "y") + pb(4, "Add") + pb(7, domain) + (pb(5, attribute) if attribute else b"")
    graph = pb(1, node) + pb(2, "g") + b"".join(pb(5, tensor) for tensor in tensors) + pb(11, pb(1, "x")) + pb(12, pb(1, "logits"))
    return pb(1, 9) + pb(2, "tests") + pb(7, graph) + pb(8, pb(2, 17))


# -- OpenVINO --------------------------------------------------------------------------------------------------------------
def openvino(constants: Sequence[tuple[str, str, int, int]] = (("f16", "4, 3", 0, 24), ("i64", "2", 24, 16))) -> str:
    """element type, shape, offset, size."""
    layers = "".join(
        f'<layer id="{i}" name="c{i}" type="Const" version="opset1">'
        f'<data element_type="{kind}" shape="{shape}" offset="{offset}" size="{size}"/></layer>'
        for i, (kind, shape, offset, size) in enumerate(constants)
    )
    return f'<?xml version="1.0"?>\n<net name="Model0" version="11"><layers>{layers}</layers><edges/></net>\n'


# -- hostile parts ---------------------------------------------------------------------------------------------------------
PICKLES = {
    "protocol 0": b"cposix\nsystem\np0\n(Vtrue\np1\ntp2\nRp3\n.",
    "protocol 2": b"\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.",
    "protocol 4": b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94.",
    "protocol 5, large": b"\x80\x05]\x94(" + b"\x8c\x10abcdefghijklmnop\x94" * 8000 + b"e.",
}


def zip_archive(name: str = "archive/data.pkl") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, PICKLES["protocol 2"])
    return out.getvalue()
