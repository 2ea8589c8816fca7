"""safetensors: agreement with the real library, shards, and every way a header can lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmos.errors import CorruptFile, ModelFileError, UnsafeFile
from llmos.library.formats.safetensors import MAX_HEADER_BYTES, SafetensorsFormat, read_index, read_safetensors
from llmos.types import Family, Task
from tests.library.formats.builders import BERT, LLAMA, folder, safetensors


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_real_file_reads_as_the_library_reads_it(asset: Callable[[str], Path]) -> None:
    from safetensors import safe_open

    path = asset("minilm") / "model.safetensors"
    header = read_safetensors(path)
    with safe_open(path, "numpy") as reference:
        assert {name: list(shape) for name, (_, shape) in header.tensors.items()} == {
            name: reference.get_slice(name).get_shape()
            for name in reference.keys()  # noqa: SIM118 - not a dict
        }
        assert header.metadata == reference.metadata()
    assert header.dtype() == "f32"


def test_every_type_of_the_library_is_known(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    kinds = [torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.bool, torch.uint16, torch.float8_e4m3fn]
    save_file({str(kind): torch.zeros(3, dtype=kind) for kind in kinds}, tmp_path / "x.safetensors")
    assert read_safetensors(tmp_path / "x.safetensors").num_weights == 3 * len(kinds)


HOSTILE: dict[str, tuple[bytes, type[ModelFileError], str]] = {
    "empty": (b"", CorruptFile, "claims"),
    "header longer than the file": (b"\xff" * 8 + b"{}", CorruptFile, "claims 18446744073709551615 bytes"),
    "header over the cap": (
        (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{" + b" " * (MAX_HEADER_BYTES + 1),
        CorruptFile,
        "at most",
    ),
    "no object": (safetensors(b"[1, 2, 3]"), CorruptFile, "instead of '{'"),
    "no JSON": (safetensors(b'{"a": '), CorruptFile, "not valid JSON"),
    "no UTF-8": (safetensors(b'{"\xff": 1}'), CorruptFile, "not UTF-8"),
    "deep": (safetensors(b'{"a":' * 100_000), CorruptFile, "nested too deeply"),
    "a name twice": (safetensors(b'{"a": 1, "a": 2}'), CorruptFile, "occurs twice"),
    "a number of a million digits": (safetensors(b'{"a": ' + b"9" * 1_000_000 + b"}"), CorruptFile, "not valid JSON"),
    "metadata is no text": (safetensors({"__metadata__": {"a": 1}}), CorruptFile, "__metadata__"),
    "unknown dtype": (safetensors({"w": entry("F1")}, b"\0" * 8), CorruptFile, "is described as"),
    "negative offset": (safetensors({"w": entry(offsets=(-8, 0))}, b""), CorruptFile, "is described as"),
    "shape of truth": (safetensors({"w": entry("U8", (True,), (0, 1))}, b"\0"), CorruptFile, "is described as"),
    "overflowing shape": (safetensors({"w": entry(shape=(1 << 40, 1 << 40))}, b"\0" * 8), CorruptFile, "needs"),
    "size and span differ": (safetensors({"w": entry(shape=(3,))}, b"\0" * 8), CorruptFile, "needs 12 bytes but spans 8"),
    "half a byte": (safetensors({"w": entry("F4", (3,), (0, 1))}, b"\0"), CorruptFile, "needs 1.5 bytes"),
    "further key": (safetensors({"w": entry() | {"code": "x"}}, b"\0" * 8), CorruptFile, "is described as"),
    "overlap": (safetensors({"a": entry(), "b": entry(offsets=(4, 12))}, b"\0" * 12), CorruptFile, "overlaps"),
    "hole": (safetensors({"a": entry(), "b": entry(offsets=(12, 20))}, b"\0" * 20), CorruptFile, "hole"),
    "truncated": (safetensors()[:-1], CorruptFile, "need 24 bytes but only 23"),
    "data behind": (safetensors() + b"x", UnsafeFile, "1 bytes lie behind"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_file_is_refused(tmp_path: Path, case: str) -> None:
    data, error, reason = HOSTILE[case]
    (tmp_path / "m.safetensors").write_bytes(data)
    with pytest.raises(error) as caught:
        read_safetensors(tmp_path / "m.safetensors")
    assert reason in caught.value.message and "m.safetensors" in caught.value.message


def test_cut_anywhere_it_is_corrupt(tmp_path: Path) -> None:
    whole, path = safetensors(), tmp_path / "m.safetensors"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFile):
            read_safetensors(path)


def sharded(tmp_path: Path, weight_map: dict[str, str] | None = None) -> Path:
    first = safetensors({"a": entry()}, b"\0" * 8)
    second = safetensors({"b": entry("BF16", (2, 4), (0, 16)), "c": entry("BF16", (4,), (16, 24))}, b"\0" * 24)
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": weight_map or {"a": names[0], "b": names[1], "c": names[1]}}
    return folder(tmp_path / "m", {"config.json": LLAMA, names[0]: first, names[1]: second, "model.safetensors.index.json": index})


def test_shards_are_one_model(tmp_path: Path) -> None:
    place = sharded(tmp_path)
    known = SafetensorsFormat()
    found = known.inspect(known.choose(sorted(place.glob("*.safetensors"))), place)
    assert (found.family, found.parameters, found.quantization) == (Family.CAUSAL, 14, "f32")
    assert found.files[:3] == (
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    )
    assert found.memory_bytes == sum(path.stat().st_size for path in place.glob("*.safetensors"))
    assert found.kv_bytes_per_token == 2 * 3 * 2 * 8 * 2
    assert Task.GENERATE in found.tasks and Task.CHAT not in found.tasks


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [
        ("../../etc/passwd", UnsafeFile, "outside the folder"),
        ("/etc/passwd", UnsafeFile, "outside the folder"),
        ("model-00003-of-00002.safetensors", CorruptFile, "are missing"),
    ],
)
def test_an_index_may_only_name_files_beside_it(tmp_path: Path, name: str, error: type[ModelFileError], reason: str) -> None:
    place = sharded(tmp_path, {"a": name})
    with pytest.raises(error, match=reason):
        read_index(place / "model.safetensors.index.json")


def test_an_index_must_agree_with_its_shards(tmp_path: Path) -> None:
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    place = sharded(tmp_path, {"a": names[1], "b": names[0]})
    with pytest.raises(CorruptFile, match="'a' is not in"):
        SafetensorsFormat().inspect(place / names[0], place)
    (place / names[1]).write_bytes((place / names[0]).read_bytes())
    folder(place, {"model.safetensors.index.json": {"weight_map": {"a": names[0]}}, "x.safetensors.index.json": {"weight_map": {}}})
    assert SafetensorsFormat().inspect(place / names[0], place).parameters == 2
    folder(place, {"model.safetensors.index.json": {"weight_map": {"a": names[0], "b": names[1]}}})
    with pytest.raises(CorruptFile, match="'b' is not in"):
        SafetensorsFormat().inspect(place / names[0], place)


def test_a_pickle_among_the_companions_is_refused(tmp_path: Path) -> None:
    place = folder(
        tmp_path / "m", {"config.json": BERT, "model.safetensors": safetensors(), "tokenizer.json": b"\x80\x04]q\x00(K\x01K\x02e."}
    )
    with pytest.raises(UnsafeFile, match=r"tokenizer\.json is a pickle"):
        SafetensorsFormat().inspect(place / "model.safetensors", place)
