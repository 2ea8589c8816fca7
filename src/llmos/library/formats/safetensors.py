"""safetensors: the format of Hugging Face folders. One file, or shards under an index.

    header length u64 | header: JSON {name: {dtype, shape, data_offsets}, "__metadata__": {text: text}} | data

The data must be covered by the tensors exactly, without hole, overlap or rest (the specification's rule against polyglots).
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from llmos.errors import CorruptFile, UnsafeFile
from llmos.library.formats.base import FileFormat, Inspection, formats
from llmos.library.formats.companions import companions, relative
from llmos.library.formats.config import parse_json, read_config, read_object
from llmos.library.formats.content import check

MAX_HEADER_BYTES = 16 << 20  # the reference allows 100 MB; the largest known real header is under 10 MB
MAX_TENSORS = 1 << 18
# dtype -> (bits of a value, name in a card)
DTYPES = {
    "BOOL": (8, "bool"), "U8": (8, "u8"), "I8": (8, "i8"), "U16": (16, "u16"), "I16": (16, "i16"),
    "U32": (32, "u32"), "I32": (32, "i32"), "U64": (64, "u64"), "I64": (64, "i64"), "F64": (64, "f64"), "F32": (32, "f32"),
    "F16": (16, "f16"), "BF16": (16, "bf16"), "C64": (64, "c64"), "F8_E4M3": (8, "f8"),
    "F8_E5M2": (8, "f8"), "F8_E8M0": (8, "f8"), "F8_E4M3FNUZ": (8, "f8"), "F8_E5M2FNUZ": (8, "f8"),
    "F6_E2M3": (6, "f6"), "F6_E3M2": (6, "f6"), "F4": (4, "f4"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """tensors: name -> (dtype as in the file, shape). metadata: the file's own remarks."""

    tensors: dict[str, tuple[str, tuple[int, ...]]]
    metadata: dict[str, str]

    @property
    def num_weights(self) -> int:
        return sum(prod(shape) for _, shape in self.tensors.values())

    def dtype(self) -> str:
        """The type most weights have, as a card names it."""
        counts: dict[str, int] = {}
        for dtype, shape in self.tensors.values():
            counts[dtype] = counts.get(dtype, 0) + prod(shape)
        return DTYPES[max(counts, key=lambda dtype: counts[dtype])][1] if counts else ""


def read_safetensors(path: Path) -> SafetensorsHeader:
    """The checked header. Raises CorruptFile, or UnsafeFile for data behind the declared end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            raise CorruptFile(f"{path.name}: its header claims {length} bytes but the file has {size}.", hint="Download it again.")
        if length > MAX_HEADER_BYTES:
            raise CorruptFile(f"{path.name}: its header claims {length} bytes; at most {MAX_HEADER_BYTES} are read.")
        raw = file.read(length)
    if raw[:1] != b"{":
        raise CorruptFile(f"{path.name}: its header starts with {raw[:8]!r} instead of '{{'.")
    told = parse_json(raw, f"the header of {path.name}")
    metadata = told.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CorruptFile(f"{path.name}: __metadata__ may only map texts to texts.")
    if len(told) > MAX_TENSORS:
        raise CorruptFile(f"{path.name}: it claims {len(told)} tensors; at most {MAX_TENSORS} are read.")
    spans = sorted((*_span(path.name, name, entry), name) for name, entry in told.items())
    _check_cover(path.name, spans, size - 8 - length)
    return SafetensorsHeader({name: (entry["dtype"], tuple(entry["shape"])) for name, entry in told.items()}, metadata)


def _span(file: str, name: str, entry: Any) -> tuple[int, int]:
    """Begin and end of a tensor, which must fit its type and shape."""
    wrong = CorruptFile(f"{file}: the tensor {name[:100]!r} is described as {str(entry)[:120]}.")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise wrong
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES or not _numbers(shape) or not _numbers(offsets) or len(offsets) != 2:
        raise wrong
    begin, end = offsets
    bits = prod(shape) * DTYPES[dtype][0]
    if bits % 8 or end - begin != bits // 8:
        raise CorruptFile(f"{file}: the tensor {name[:100]!r} ({dtype} {shape}) needs {bits / 8:g} bytes but spans {end - begin}.")
    return begin, end


def _numbers(values: Any) -> bool:
    """A short list of numbers from 0 to 2**48; more dimensions or larger ones occur in no model."""
    if not isinstance(values, list) or len(values) > 16:
        return False
    return all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48 for value in values)


def _check_cover(file: str, spans: Sequence[tuple[int, int, str]], data_bytes: int) -> None:
    last = 0
    for begin, end, name in spans:
        if begin != last:
            kind = "overlaps the one before it" if begin < last else "leaves a hole before it"
            raise CorruptFile(f"{file}: the tensor {name[:100]!r} at {begin} {kind}, which ends at {last}.")
        last = end
    if last > data_bytes:
        raise CorruptFile(
            f"{file}: its tensors need {last} bytes but only {data_bytes} are there.",
            hint="The download is incomplete; get it again.",
        )
    if last < data_bytes:
        raise UnsafeFile(
            f"{file}: {data_bytes - last} bytes lie behind the last tensor.", param="path", hint="Do not use this file."
        )


@formats.register("safetensors")
class SafetensorsFormat(FileFormat):
    name = "safetensors"
    precedence = 20

    def sniff(self, head: bytes, path: Path) -> bool:
        return is_safetensors(head)

    def choose(self, candidates: Sequence[Path]) -> Path:
        """model.safetensors before shards (as transformers does); shards are one model through their index."""
        by_name = {path.name: path for path in candidates}
        if "model.safetensors" in by_name:
            return by_name["model.safetensors"]
        indexed = [path for path in candidates if _index_of(path)]
        return indexed[0] if indexed else super().choose(candidates)

    def inspect(self, main: Path, folder: Path) -> Inspection:
        facts = read_config(folder)
        index = None if main.name == "model.safetensors" else _index_of(main)
        shards = read_index(index) if index else [main]
        headers = [(check(path), read_safetensors(path))[1] for path in shards]
        if index:
            _check_index(index, shards, headers)
        others = companions(folder)
        for path in others:
            if path.suffix == ".safetensors":  # a Dense module of sentence-transformers
                check(path)
                headers.append(read_safetensors(path))
        weights = [*shards, *(path for path in others if path.suffix == ".safetensors")]
        return facts.inspection(
            "safetensors",
            folder,
            relative(folder, *shards, *([index] if index else []), *others),
            parameters=sum(header.num_weights for header in headers),
            quantization=facts.quantization or headers[0].dtype(),
            memory_bytes=sum(path.stat().st_size for path in weights),
        )


def is_safetensors(head: bytes) -> bool:
    """A length that a header can have, then an object. An archive or program does not start so."""
    return len(head) > 8 and 2 <= int.from_bytes(head[:8], "little") <= 100_000_000 and head[8:9] == b"{"


def _index_of(shard: Path) -> Path | None:
    """The index that names this shard, or None."""
    for index in sorted(shard.parent.glob("*.safetensors.index.json")):
        if shard.name in set(read_object(index).get("weight_map", {}).values()):
            return index
    return None


def read_index(index: Path) -> list[Path]:
    """The shards of an index, in order. Raises UnsafeFile for a name that leaves the folder, CorruptFile for a missing one."""
    told = read_object(index).get("weight_map")
    if not isinstance(told, dict) or not told or not all(isinstance(name, str) for name in told.values()):
        raise CorruptFile(f"{index.name}: weight_map must map tensors to files.")
    names = sorted(set(told.values()))
    for name in names:
        if Path(name).name != name or "\\" in name:
            raise UnsafeFile(f"{index.name} points to {name[:100]!r}, outside the folder.", param="path")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        hint = "The download is incomplete; get the missing files."
        raise CorruptFile(f"{index.name}: {len(missing)} of {len(names)} shards are missing: {', '.join(missing[:5])}.", hint=hint)
    return [index.parent / name for name in names]


def _check_index(index: Path, shards: list[Path], headers: list[SafetensorsHeader]) -> None:
    """Every tensor lies where the index says, and in one shard only."""
    held = {path.name: header.tensors for path, header in zip(shards, headers, strict=True)}
    for tensor, shard in read_object(index)["weight_map"].items():
        if tensor not in held[shard]:
            raise CorruptFile(f"{index.name}: the tensor {tensor[:100]!r} is not in {shard}.", hint="Download the model again.")
    if sum(map(len, held.values())) != len(set().union(*held.values())):
        raise CorruptFile(f"{index.name}: a tensor lies in two shards.", hint="Download the model again.")
