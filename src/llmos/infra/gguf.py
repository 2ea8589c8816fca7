"""Reads the header of a GGUF file: what the model is, its vocabulary, its chat template, where each tensor lies.

A GGUF file comes from a stranger, so nothing it says is believed before it is checked: every length is compared with what
is left of the file before anything is allocated, counts have caps, tensors must lie inside the file and apart from each
other. Weights are never read. Layout (version 2 and 3, little-endian), from the specification in ggml's docs/gguf.md:

    "GGUF" | version u32 | tensor count u64 | key count u64
    key count    x  key: string | type u32 | value           string = length u64 + UTF-8; array = type u32 | count u64 | values
    tensor count x  name: string | dims u32 | dims x u64 | ggml type u32 | offset u64 from the start of the data
    padding to general.alignment (32) | data
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from llmos.errors import CorruptFile

MAGIC = b"GGUF"
MAX_HEADER_BYTES = 64 << 20  # a vocabulary of 262,144 tokens with its merges takes 16 MiB
MAX_ELEMENTS = 1 << 22  # values of all arrays together
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 18
MAX_DIMS = 4  # GGML_MAX_DIMS
MAX_DEPTH = 4  # of arrays in arrays

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_NAMES = {
    0: "uint8", 1: "int8", 2: "uint16", 3: "int16", 4: "uint32", 5: "int32", 6: "float32", 7: "bool",
    8: "string", 9: "array", 10: "uint64", 11: "int64", 12: "float64",
}  # fmt: skip

# ggml type -> (name, weights in a block, bytes of a block); test_gguf.py compares it with the gguf package.
TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SkippedArray:
    """Stands in `metadata` for an array that `skip_arrays_over` left out; its place in the file was checked all the same."""

    element_type: str
    count: int


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """shape: in ggml's order, the contiguous dimension first (PyTorch's order reversed). type: "F32", "Q4_1", ….
    offset: bytes from the start of the file."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    size_bytes: int

    @property
    def num_weights(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """metadata: keys as in the file; arrays are lists; strings are str, where bytes that are not UTF-8 (they occur in the
    vocabularies of byte-level tokenizers) are kept as surrogate escapes. data_offset: where the tensors start.
    data_end: where the last one ends; file_bytes - data_end is padding, or something that was put behind the model."""

    version: int
    metadata: dict[str, Any] = field(repr=False)
    tensors: tuple[GGUFTensor, ...] = field(repr=False)
    data_offset: int
    data_end: int
    file_bytes: int
    alignment: int = 32


def read_gguf(path: Path | str, *, skip_arrays_over: int | None = None) -> GGUFHeader:
    """The header of the file. skip_arrays_over: longer arrays (vocabularies) become `SkippedArray`, which is quicker.

    Raises CorruptFile with the offset and the reason; OSError when the file cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size < 24:
            raise CorruptFile(f"{path.name}: {size} bytes are too few for a GGUF file.", hint="Download it again.")
        with mmap.mmap(file.fileno(), min(size, MAX_HEADER_BYTES), access=mmap.ACCESS_READ) as data:
            return _Reader(path.name, data, size, skip_arrays_over).read()


class _Reader:
    """One pass over the header. `offset` is the next byte to read; every read checks it against the end first."""

    def __init__(self, name: str, data: mmap.mmap, file_bytes: int, skip_over: int | None) -> None:
        self.name, self.data, self.file_bytes, self.skip_over = name, data, file_bytes, skip_over
        self.end = len(data)
        self.offset = 0
        self.elements = 0

    def read(self) -> GGUFHeader:
        version, num_tensors, num_keys = self._start()
        metadata: dict[str, Any] = {}
        for _ in range(num_keys):
            key = self._name("key")
            if key in metadata:
                raise self.corrupt(f"the key {key!r} occurs twice")
            metadata[key] = self._value(self._u32())
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 16 or alignment & (alignment - 1):
            raise self.corrupt(f"general.alignment is {alignment!r}; it must be a power of two up to 65536")
        described = [self._tensor(alignment) for _ in range(num_tensors)]
        data_offset = -(-self.offset // alignment) * alignment
        tensors = tuple(GGUFTensor(t.name, t.shape, t.type, t.offset + data_offset, t.size_bytes) for t in described)
        data_end = self._check_places(tensors, data_offset)
        return GGUFHeader(version, metadata, tensors, data_offset, data_end, self.file_bytes, alignment)

    def _start(self) -> tuple[int, int, int]:
        if self.data[:4] != MAGIC:
            raise self.corrupt(f"it starts with {self.data[:4]!r} instead of {MAGIC!r}")
        self.offset = 4
        version = self._u32()
        if version not in (2, 3):
            kind = "big-endian" if version & 0xFFFF == 0 and version else f"of version {version}"
            raise self.corrupt(f"it is {kind}; only little-endian files of version 2 and 3 can be read", "Convert the model again.")
        num_tensors, num_keys = self._u64(), self._u64()
        for what, number, cap, smallest in (("tensors", num_tensors, MAX_TENSORS, 24), ("keys", num_keys, MAX_KEYS, 13)):
            if number > min(cap, (self.end - self.offset) // smallest):
                raise self.corrupt(f"it claims {number} {what}, more than {cap} or than the file can hold")
        return version, num_tensors, num_keys

    def _value(self, kind: int, depth: int = 0) -> Any:
        if kind in _SCALARS:
            return self._unpack(struct.Struct("<" + _SCALARS[kind]))
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            return self._array(depth + 1)
        raise self.corrupt(f"the value type {kind} is unknown")

    def _array(self, depth: int) -> list[Any] | SkippedArray:
        kind, count = self._u32(), self._u64()
        if kind not in _NAMES:
            raise self.corrupt(f"the array element type {kind} is unknown")
        code = _SCALARS.get(kind)
        smallest = struct.calcsize(code) if code else 8
        if count > MAX_ELEMENTS - self.elements or count * smallest > self.end - self.offset:
            raise self.corrupt(f"an array claims {count} elements, more than {MAX_ELEMENTS} in all or than the file can hold")
        self.elements += count
        skip = self.skip_over is not None and count > self.skip_over
        values: list[Any] = []
        if code and skip:
            self.offset += count * smallest
        elif code:
            values = list(self._unpack_all(struct.Struct(f"<{count}{code}")))
        elif kind == _STRING:
            values = self._texts(count, keep=not skip)
        elif depth >= MAX_DEPTH:
            raise self.corrupt(f"arrays lie more than {MAX_DEPTH} deep in each other")
        else:
            values = [self._array(depth + 1) for _ in range(count)]
        return SkippedArray(_NAMES[kind], count) if skip else values

    def _texts(self, count: int, *, keep: bool) -> list[str]:
        """Half a million of these make the time of a load, hence the plain loop over local names."""
        data, offset, end, length_at = self.data, self.offset, self.end, _U64.unpack_from
        found: list[bytes] = []
        try:
            for _ in range(count):
                stop = offset + 8 + length_at(data, offset)[0]
                if stop > end:
                    raise self.corrupt(f"a text at byte {offset} runs over the end")
                if keep:
                    found.append(data[offset + 8 : stop])
                offset = stop
        except struct.error:
            raise self.corrupt(f"an array of texts runs over the end at byte {offset}") from None
        self.offset = offset
        return [text.decode("utf-8", "surrogateescape") for text in found]

    def _text(self) -> str:
        return self._bytes().decode("utf-8", "surrogateescape")

    def _name(self, what: str) -> str:
        raw = self._bytes()
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.corrupt(f"the name of a {what} is not UTF-8: {raw[:40]!r}") from None

    def _bytes(self) -> bytes:
        length = self._u64()
        if length > self.end - self.offset:
            raise self.corrupt(f"a text claims {length} bytes where {self.end - self.offset} are left")
        self.offset += length
        return self.data[self.offset - length : self.offset]

    def _tensor(self, alignment: int) -> GGUFTensor:
        """As described in the header: the offset is still relative to the data."""
        name = self._name("tensor")
        num_dims = self._u32()
        if num_dims > MAX_DIMS:
            raise self.corrupt(f"the tensor {name!r} claims {num_dims} dimensions, more than {MAX_DIMS}")
        shape = tuple(self._u64() for _ in range(num_dims))
        kind, offset = self._u32(), self._u64()
        if kind not in TENSOR_TYPES:
            hint = "It may need a newer version of LLMOS: pip install -U llmos"
            raise self.corrupt(f"the tensor {name!r} has the unknown type {kind}", hint)
        type_name, block, block_bytes = TENSOR_TYPES[kind]
        row = shape[0] if shape else 1
        if row % block or 0 in shape:
            raise self.corrupt(f"the tensor {name!r} of shape {shape} does not divide into {type_name} blocks of {block}")
        if offset % alignment:
            raise self.corrupt(f"the tensor {name!r} has the offset {offset}, which is not a multiple of {alignment}")
        return GGUFTensor(name, shape, type_name, offset, prod(shape) // block * block_bytes)

    def _check_places(self, tensors: tuple[GGUFTensor, ...], data_offset: int) -> int:
        """Every tensor inside the file, no name twice, none over another. Returns where the last one ends."""
        if len({tensor.name for tensor in tensors}) != len(tensors):
            raise self.corrupt("a tensor name occurs twice")
        last = min(data_offset, self.file_bytes)
        for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
            if tensor.offset < last:
                raise self.corrupt(f"the tensor {tensor.name!r} at {tensor.offset} overlaps the one that ends at {last}")
            last = tensor.offset + tensor.size_bytes
            if last > self.file_bytes:
                reason = f"the tensor {tensor.name!r} ends at byte {last} but the file has {self.file_bytes} bytes"
                raise self.corrupt(reason, "The download is incomplete; get the file again.")
        return last

    def _u32(self) -> int:
        return int(self._unpack(_U32))

    def _u64(self) -> int:
        return int(self._unpack(_U64))

    def _unpack(self, layout: struct.Struct) -> Any:
        return self._unpack_all(layout)[0]

    def _unpack_all(self, layout: struct.Struct) -> tuple[Any, ...]:
        if layout.size > self.end - self.offset:
            raise self.corrupt(f"{layout.size} bytes are wanted where {self.end - self.offset} are left")
        values = layout.unpack_from(self.data, self.offset)
        self.offset += layout.size
        return values

    def corrupt(self, reason: str, hint: str = "") -> CorruptFile:
        if not hint and self.end < self.file_bytes:
            hint = f"Headers over {MAX_HEADER_BYTES >> 20} MiB are refused."
        return CorruptFile(f"{self.name}: {reason} (at byte {self.offset}).", hint=hint or "Download it again.")
