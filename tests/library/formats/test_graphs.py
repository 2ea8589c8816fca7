"""ONNX, OpenVINO IR and CTranslate2: files of the real writers where they are installed, and hostile ones made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmos.errors import CorruptFile, ModelFileError, UnsafeFile
from llmos.library.formats.ctranslate2 import CTranslate2Format, read_ctranslate2
from llmos.library.formats.onnx import ONNXFormat, read_onnx
from llmos.library.formats.openvino import OpenVINOFormat, read_openvino
from llmos.types import Family
from tests.library.formats.builders import BERT, ctranslate2, folder, onnx, onnx_tensor, openvino, pb, safetensors

Case = tuple[bytes, type[ModelFileError], str]


def refused(tmp_path: Path, name: str, case: Case, reader: Callable[[Path], object]) -> None:
    data, error, reason = case
    (tmp_path / name).write_bytes(data)
    with pytest.raises(error) as caught:
        reader(tmp_path / name)
    assert reason in caught.value.message and type(caught.value) is error


# -- ONNX ------------------------------------------------------------------------------------------------------------------
def test_onnx_model(tmp_path: Path) -> None:
    place = folder(tmp_path, {"config.json": BERT, "onnx/model.onnx": onnx(), "tokenizer.json": "{}"})
    main = place / "onnx" / "model.onnx"
    assert ONNXFormat().sniff(main.read_bytes(), main)
    found = ONNXFormat().inspect(main, place)
    assert (found.family, found.parameters, found.quantization, found.context_length) == (Family.ENCODER, 6, "f32", 64)
    assert found.files == ("onnx/model.onnx", "config.json", "tokenizer.json")
    assert found.extra["outputs"] == "logits"


def test_onnx_tensors_in_a_file_beside_it(tmp_path: Path) -> None:
    tensor = onnx_tensor((4,), external={"location": "weights.data", "offset": "16", "length": "16"})
    folder(tmp_path, {"config.json": BERT, "model.onnx": onnx(tensors=[tensor]), "weights.data": b"\0" * 32})
    found = ONNXFormat().inspect(tmp_path / "model.onnx", tmp_path)
    assert found.files[:2] == ("model.onnx", "weights.data")
    assert found.memory_bytes == 32 + (tmp_path / "model.onnx").stat().st_size
    (tmp_path / "weights.data").write_bytes(b"\0" * 31)
    with pytest.raises(CorruptFile, match=r"uses 32 bytes of weights\.data, which has 31"):
        read_onnx(tmp_path / "model.onnx")
    (tmp_path / "weights.data").write_bytes(b"\0" * 200_000)
    with pytest.raises(UnsafeFile, match="199968 bytes lie behind"):
        read_onnx(tmp_path / "model.onnx")


def outside(location: str) -> Case:
    return onnx(tensors=[onnx_tensor((1,), external={"location": location})]), UnsafeFile, "outside its folder"


def nested_graphs(depth: int) -> bytes:
    attribute = b""
    for _ in range(depth):
        attribute = pb(6, pb(1, pb(4, "If") + (pb(5, attribute) if attribute else b"")))
    return attribute


ONNX: dict[str, Case] = {
    "foreign operators": (onnx(domain="evil.ops"), UnsafeFile, "operators of 'evil.ops'"),
    "foreign operators in a branch": (onnx(attribute=pb(6, pb(1, pb(7, "evil.ops")))), UnsafeFile, "operators of 'evil.ops'"),
    "foreign operators in a function": (onnx() + pb(25, pb(7, pb(7, "evil.ops"))), UnsafeFile, "operators of 'evil.ops'"),
    "graphs too deep": (onnx(attribute=nested_graphs(20)), CorruptFile, "deep in each other"),
    "parent folder": outside("../../etc/passwd"),
    "absolute": outside("/etc/passwd"),
    "backslash": outside("..\\x"),
    "no name": outside(""),
    "missing weights": (
        onnx(tensors=[onnx_tensor((1,), external={"location": "w"})]),
        CorruptFile,
        "uses 4 bytes of w, which has 0",
    ),
    "wrong length": (
        onnx(tensors=[onnx_tensor((1,), external={"location": "w", "length": "9"})]),
        CorruptFile,
        "of 4 bytes claims 9",
    ),
    "negative offset": (
        onnx(tensors=[onnx_tensor((1,), external={"location": "w", "offset": "-1"})]),
        CorruptFile,
        "is described as",
    ),
    "raw data of another size": (onnx(tensors=[onnx_tensor((2, 3), b"\0" * 20)]), CorruptFile, "claims 20 bytes"),
    "overflowing shape": (onnx(tensors=[onnx_tensor((1 << 60, 1 << 60), b"")]), CorruptFile, "has the shape"),
    "no graph": (pb(1, 9) + pb(2, "x"), CorruptFile, "0 graphs"),
    "two graphs": (onnx() + pb(7, b""), CorruptFile, "2 graphs"),
    "field of no model": (onnx() + pb(100, "x"), UnsafeFile, "belongs to no ONNX model"),
    "length over the end": (pb(1, 9) + b"\x3a\xff\xff\xff\xff\x0f", CorruptFile, "claims 4294967295 bytes"),
    "endless number": (b"\x08" + b"\xff" * 20, CorruptFile, "more than ten bytes"),
    "group": (pb(1, 9) + b"\x3b", CorruptFile, "wire type 3"),
    "truncated": (onnx()[:-3], CorruptFile, "at byte"),
}


@pytest.mark.parametrize("case", ONNX)
def test_hostile_onnx_is_refused(tmp_path: Path, case: str) -> None:
    refused(tmp_path, "m.onnx", ONNX[case], read_onnx)


# -- OpenVINO --------------------------------------------------------------------------------------------------------------
def test_openvino_graph_as_the_library_saves_it(tmp_path: Path) -> None:
    import numpy as np
    import openvino as ov
    from openvino import opset13

    x = opset13.parameter([1, 4], np.float32)
    product = opset13.matmul(x, opset13.constant(np.arange(12, dtype=np.float32).reshape(4, 3)), False, False)
    bit4 = opset13.constant(np.zeros((1, 3)), ov.Type.i4)
    model = ov.Model([opset13.add(product, opset13.convert(bit4, "f32"))], [x])
    ov.save_model(model, tmp_path / "openvino_model.xml", compress_to_fp16=False)
    folder(tmp_path, {"config.json": BERT})
    main = tmp_path / "openvino_model.xml"
    assert OpenVINOFormat().sniff(main.read_bytes()[:65536], main)
    found = OpenVINOFormat().inspect(main, tmp_path)
    assert (found.parameters, found.quantization) == (12 + 3, "f32")
    assert found.files == ("openvino_model.xml", "openvino_model.bin", "config.json")
    (tmp_path / "openvino_model.bin").write_bytes((tmp_path / "openvino_model.bin").read_bytes()[:-1])
    with pytest.raises(CorruptFile, match=r"openvino_model\.bin has"):
        read_openvino(main)


def test_openvino_tokenizer_belongs_to_the_model(tmp_path: Path) -> None:
    files = {
        f"openvino_{part}.{end}": data
        for part in ("model", "tokenizer")
        for end, data in (("xml", openvino()), ("bin", b"\0" * 40))
    }
    folder(tmp_path, {"config.json": BERT} | files)
    known = OpenVINOFormat()
    found = known.inspect(known.choose(sorted(tmp_path.glob("*.xml"))), tmp_path)
    assert set(found.files) == {"config.json", *files}
    assert (found.parameters, found.quantization, found.memory_bytes) == (14, "f16", 80)


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><net><layers>&b;</layers></net>'
)
OPENVINO: dict[str, Case] = {
    "document type": (LAUGHS.encode(), UnsafeFile, "declares a document type"),
    "no XML": (b"<net <layers>", CorruptFile, "not valid XML"),
    "cut": (openvino().encode()[:-20], CorruptFile, "not valid XML"),
    "something behind": (openvino().encode() + b"<script/>", CorruptFile, "not valid XML"),
    "another XML": (b"<html><layers/></html>", CorruptFile, "starts with <html>"),
    "no layers": (b"<net><layers/></net>", CorruptFile, "holds no layers"),
    "deep": (b"<net>" * 100_000, CorruptFile, "200 deep"),
    "over the end of the .bin": (openvino([("f32", "10", 20, 40)]).encode(), CorruptFile, "has 40 bytes where m.xml uses 60"),
    "size and shape differ": (openvino([("f32", "10", 0, 4)]).encode(), CorruptFile, "claims 4 bytes"),
    "negative": (openvino([("f32", "1", -4, 4)]).encode(), CorruptFile, "is described as"),
    "unknown type": (openvino([("f99", "1", 0, 4)]).encode(), CorruptFile, "of f99"),
    "huge number": (openvino([("f32", "9" * 5000, 0, 4)]).encode(), CorruptFile, "is described as"),
}


@pytest.mark.parametrize("case", OPENVINO)
def test_hostile_openvino_is_refused(tmp_path: Path, case: str) -> None:
    (tmp_path / "m.bin").write_bytes(b"\0" * 40)
    refused(tmp_path, "m.xml", OPENVINO[case], read_openvino)


def test_openvino_weights_may_hold_nothing_else(tmp_path: Path) -> None:
    folder(tmp_path, {"m.xml": openvino(), "m.bin": b"\0" * 40 + b"x" * 65})
    with pytest.raises(UnsafeFile, match="65 bytes lie behind"):
        read_openvino(tmp_path / "m.xml")
    (tmp_path / "m.bin").unlink()
    with pytest.raises(CorruptFile, match=r"m\.bin with its weights is missing"):
        read_openvino(tmp_path / "m.xml")


# -- CTranslate2 -----------------------------------------------------------------------------------------------------------
def test_ctranslate2_as_the_library_saves_it(tmp_path: Path) -> None:
    import numpy as np

    model_spec: Any = pytest.importorskip("ctranslate2.specs.model_spec", reason="the ctranslate2 package is not installed")

    class Layer(model_spec.LayerSpec):  # type: ignore[misc] # the package has no types
        def __init__(self) -> None:
            self.weight = np.ones((4, 3), np.float32)
            self.bias = np.zeros(5, np.float16)

    class TransformerSpec(model_spec.ModelSpec):  # type: ignore[misc]
        name = "TransformerSpec"

        def __init__(self) -> None:
            super().__init__()
            self.layer = Layer()
            self.same = Layer()

    spec = TransformerSpec()
    spec.validate()
    spec.optimize()
    spec.save(str(tmp_path))
    main = tmp_path / "model.bin"
    assert CTranslate2Format().sniff(main.read_bytes(), main)
    found = CTranslate2Format().inspect(main, tmp_path)
    assert (found.family, found.parameters, found.quantization) == (Family.SEQ2SEQ, 17, "f32")


def test_ctranslate2_model(tmp_path: Path) -> None:
    folder(
        tmp_path,
        {"model.bin": ctranslate2(), "config.json": {"bos_token": "<s>"}, "shared_vocabulary.json": ["a"], "source.spm": b"\n\x0e"},
    )
    found = CTranslate2Format().inspect(tmp_path / "model.bin", tmp_path)
    assert (found.parameters, found.context_length, found.quantization) == (8 + 32, 16, "f16")
    assert found.files == ("model.bin", "config.json", "shared_vocabulary.json", "source.spm")


CT2: dict[str, Case] = {
    "version": (b"\x63" + ctranslate2()[1:], CorruptFile, "binary version 99"),
    "behind the end": (ctranslate2() + b"x", UnsafeFile, "1 bytes lie behind"),
    "truncated": (ctranslate2()[:-1], CorruptFile, "are left"),
    "size and shape differ": (ctranslate2(variables=[("w", (3,), 0, b"\0" * 8)]), CorruptFile, "claims 8 bytes"),
    "unknown type": (ctranslate2(variables=[("w", (1,), 9, b"\0" * 4)]), CorruptFile, "unknown type 9"),
    "twice": (ctranslate2(variables=[("w", (1,), 1, b"\0")] * 2), CorruptFile, "'w' occurs twice"),
    "name without end": (ctranslate2(spec="A\0Spec"), CorruptFile, "the only NUL"),
    "alias": (ctranslate2().replace(b"\x1a\x00decoder/embeddings/weight\x00", b"\x02\x00x\x00")[:-4], CorruptFile, "are left"),
}


@pytest.mark.parametrize("case", CT2)
def test_hostile_ctranslate2_is_refused(tmp_path: Path, case: str) -> None:
    refused(tmp_path, "model.bin", CT2[case], read_ctranslate2)


def test_an_unknown_ctranslate2_specification_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(ctranslate2(spec="PaintingSpec"))
    with pytest.raises(ModelFileError, match="PaintingSpec"):
        CTranslate2Format().inspect(tmp_path / "model.bin", tmp_path)


# -- all -------------------------------------------------------------------------------------------------------------------
def test_no_format_takes_the_file_of_another(tmp_path: Path) -> None:
    from llmos.library.formats import formats

    samples = {"onnx": onnx(), "openvino": openvino().encode(), "ctranslate2": ctranslate2(), "safetensors": safetensors()}
    for name, data in samples.items():
        assert [known for known, form in formats if form.sniff(data, tmp_path / "file")] == [name]


@pytest.mark.parametrize(("data", "reader"), [(onnx(), read_onnx), (ctranslate2(), read_ctranslate2)], ids=["onnx", "ctranslate2"])
def test_cut_anywhere_it_is_corrupt(tmp_path: Path, data: bytes, reader: Callable[[Path], object]) -> None:
    path = tmp_path / "cut"
    whole = len(data) - (4 if reader is read_onnx else 0)  # the operator set of an ONNX model stands last and is optional
    for length in range(whole):
        path.write_bytes(data[:length])
        with pytest.raises(CorruptFile):
            reader(path)
