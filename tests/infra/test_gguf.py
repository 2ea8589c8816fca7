"""The GGUF reader: what it tells of real files is what the gguf package tells; what is wrong with a file is found and said."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmos.errors import CorruptFile
from llmos.infra.gguf import MAX_ELEMENTS, TENSOR_TYPES, GGUFHeader, SkippedArray, read_gguf
from llmos.library.formats.gguf import FILE_TYPES
from tests.library.formats.builders import GGUF_LLAMA, gguf, gguf_value, text


def read(tmp_path: Path, data: bytes, **options: Any) -> GGUFHeader:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    return read_gguf(path, **options)


@pytest.mark.parametrize("name", ["smollm2", "qwen"])
def test_real_file_reads_as_the_gguf_package_reads_it(asset: Callable[[str], Path], name: str) -> None:
    from gguf import GGUFReader

    (path,) = asset(name).glob("*.gguf")
    header, reference = read_gguf(path), GGUFReader(path)
    fields = {key: field for key, field in reference.fields.items() if not key.startswith("GGUF.")}
    assert list(header.metadata) == list(fields)
    for key, field in fields.items():
        assert header.metadata[key] == field.contents(), key
    assert [(t.name, t.shape, t.type, t.offset, t.size_bytes) for t in header.tensors] == [
        (t.name, tuple(int(n) for n in t.shape), t.tensor_type.name, int(t.data_offset), int(t.n_bytes)) for t in reference.tensors
    ]
    assert header.data_end == header.file_bytes


def test_tables_are_those_of_the_gguf_package() -> None:
    from gguf.constants import GGML_QUANT_SIZES, LlamaFileType

    assert {int(kind): (kind.name, *size) for kind, size in GGML_QUANT_SIZES.items()} == TENSOR_TYPES
    names = {int(kind): kind.name.removeprefix("ALL_").removeprefix("MOSTLY_") for kind in LlamaFileType if kind.name != "GUESSED"}
    assert names == FILE_TYPES


def test_metadata_and_tensors(tmp_path: Path) -> None:
    header = read(tmp_path, gguf())
    assert header.metadata == GGUF_LLAMA
    assert [(t.name, t.shape, t.num_weights, t.size_bytes) for t in header.tensors] == [
        ("token_embd.weight", (32, 3), 96, 384),
        ("output_norm.weight", (32,), 32, 128),
    ]
    assert header.tensors[0].offset == header.data_offset
    assert header.data_end == header.file_bytes


def test_every_value_type(tmp_path: Path) -> None:
    values = [(0, "B", 255), (1, "b", -1), (2, "H", 65535), (3, "h", -2), (4, "I", 7), (5, "i", -7), (6, "f", 0.5), (7, "?", True)]
    values += [(10, "Q", 1 << 63), (11, "q", -(1 << 62)), (12, "d", 0.1)]
    body = b"".join(text(f"k{kind}") + struct.pack("<I" + code, kind, value) for kind, code, value in values)
    body += b"".join(text(f"a{kind}") + struct.pack(f"<IIQ2{code}", 9, kind, 2, value, value) for kind, code, value in values)
    header = read(tmp_path, b"GGUF" + struct.pack("<IQQ", 3, 0, 2 * len(values)) + body)
    assert header.metadata == {f"k{kind}": value for kind, _, value in values} | {
        f"a{kind}": [value, value] for kind, _, value in values
    }


def test_arrays_in_arrays_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    inner = struct.pack("<IQ", 4, 1) + struct.pack("<I", 5)
    value = struct.pack("<IIQ", 9, 9, 2) + inner + inner
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + text("nested") + value + text("raw") + struct.pack("<I", 8) + text(b"\xff\xfe")
    header = read(tmp_path, data)
    assert header.metadata["nested"] == [[5], [5]]
    assert header.metadata["raw"].encode("utf-8", "surrogateescape") == b"\xff\xfe"


def test_long_arrays_can_be_left_out(tmp_path: Path) -> None:
    metadata = {"tokens": ["a", "bc", ""], "scores": [1.0, 2.0, 3.0], "short": [1, 2], "after": "end"}
    header = read(tmp_path, gguf(metadata), skip_arrays_over=2)
    assert header.metadata == {
        "tokens": SkippedArray("string", 3),
        "scores": SkippedArray("float32", 3),
        "short": [1, 2],
        "after": "end",
    }


def huge_array(kind: int, count: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, kind, count) + b"\x00" * 64


def one_tensor(shape: tuple[int, ...], *, kind: int = 0, offset: int = 0, size: int = 32) -> bytes:
    return gguf({}, [("t", shape, kind, offset, size)])


DEEP = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50 + b"\x00" * 64
SAME_KEY = b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + (text("k") + gguf_value(1)) * 2
HOSTILE = {
    "empty": (b"", "too few"),
    "another magic": (b"GGML" + b"\x00" * 40, "starts with b'GGML'"),
    "version 1": (gguf(version=1), "version 1"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + b"\x00" * 8, "big-endian"),
    "tensor count": (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "claims 1152921504606846976 tensors"),
    "key count": (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "claims 1152921504606846976 keys"),
    "key length": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62) + b"\x00" * 32, "a text claims"),
    "value type": (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<I", 13) + b"\x00" * 8, "value type 13"),
    "element type": (huge_array(77, 1), "element type 77"),
    "array of numbers": (huge_array(12, 1 << 61), "an array claims"),
    "array of texts": (huge_array(8, 1 << 61), "an array claims"),
    "array over the cap": (huge_array(0, MAX_ELEMENTS + 1) + b"\x00" * MAX_ELEMENTS, "an array claims"),
    "text in an array": (huge_array(8, 2)[:-64] + text("a") + struct.pack("<Q", 1 << 63) + b"\x00" * 9, "runs over the end"),
    "texts at the end": (huge_array(8, 2)[:-64] + text("a" * 20), "runs over the end"),
    "deep arrays": (DEEP, "deep in each other"),
    "key twice": (SAME_KEY, "'k' occurs twice"),
    "key not UTF-8": (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(b"\xff\xff") + gguf_value(1) + b"\x00" * 8, "not UTF-8"),
    "alignment": (gguf({"general.alignment": 3}), "general.alignment is 3"),
    "alignment as text": (gguf({"general.alignment": "32"}), "general.alignment is '32'"),
    "five dimensions": (one_tensor((1, 1, 1, 1, 1)), "claims 5 dimensions"),
    "overflowing shape": (one_tensor((1 << 62, 1 << 62)), "but the file has"),
    "zero dimension": (one_tensor((0,)), "does not divide"),
    "half a block": (one_tensor((33,), kind=2), "does not divide into Q4_0 blocks of 32"),
    "unknown type": (one_tensor((32,), kind=200), "unknown type 200"),
    "odd offset": (one_tensor((32,), offset=5), "not a multiple of 32"),
    "offset outside": (one_tensor((8,), offset=1 << 40, size=32 - (1 << 40)), "but the file has"),
    "tensor twice": (gguf({}, [("t", (8,), 0, 0, 32), ("t", (8,), 0, 32, 32)]), "name occurs twice"),
    "overlap": (gguf({}, [("a", (16,), 0, 0, 64), ("b", (8,), 0, 32, 32)]), "overlaps"),
    "truncated": (gguf()[:-1], "but the file has"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_file_is_refused_with_place_and_reason(tmp_path: Path, case: str) -> None:
    data, reason = HOSTILE[case]
    with pytest.raises(CorruptFile, match=r"model\.gguf") as caught:
        read(tmp_path, data)
    assert reason in caught.value.message
    assert caught.value.hint or case == "empty"


def test_cut_anywhere_it_is_corrupt(tmp_path: Path) -> None:
    whole = gguf()
    for length in range(len(whole)):
        with pytest.raises(CorruptFile):
            read(tmp_path, whole[:length])
