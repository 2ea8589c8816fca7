"""ONNX: a graph as a protobuf message, its large tensors inside or in files beside it.

A reader of our own that walks the message without building it: nothing is allocated from a claimed length, tensors are stepped
over, external files must lie in the model's folder, operators outside the standard domains are refused (they need a library
of their own). Message numbers from onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path, PurePosixPath

from llmos.errors import CorruptFile, UnsafeFile
from llmos.library.formats.base import FileFormat, Inspection, formats
from llmos.library.formats.companions import companions, relative
from llmos.library.formats.config import read_config
from llmos.library.formats.content import check
from llmos.library.formats.view import FileView

_MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
_DOMAINS = frozenset(
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft", "com.microsoft.nchwc"}
)
# TensorProto.DataType -> (bits, name)
_TYPES = {
    1: (32, "f32"), 2: (8, "u8"), 3: (8, "i8"), 4: (16, "u16"), 5: (16, "i16"), 6: (32, "i32"), 7: (64, "i64"), 9: (8, "bool"),
    10: (16, "f16"), 11: (64, "f64"), 12: (32, "u32"), 13: (64, "u64"), 14: (64, "c64"), 15: (128, "c128"), 16: (16, "bf16"),
    17: (8, "f8"), 18: (8, "f8"), 19: (8, "f8"), 20: (8, "f8"), 21: (4, "u4"), 22: (4, "i4"), 23: (4, "f4"), 24: (8, "f8"),
}  # fmt: skip
_MAX_DEPTH = 8  # of graphs in graphs
_MAX_NODES = 1 << 20

Field = tuple[int, int, int, int]  # number, wire type, value or start, end


@dataclass
class ONNXGraph:
    """weights: number of values by type. external: file -> bytes of it that are used."""

    weights: dict[str, int] = field(default_factory=dict)
    external: dict[str, int] = field(default_factory=dict)
    num_nodes: int = 0
    outputs: list[str] = field(default_factory=list)


def read_onnx(path: Path) -> ONNXGraph:
    """Walks the whole message. Raises CorruptFile, or UnsafeFile for foreign operators and paths that leave the folder."""
    graph = ONNXGraph()
    with FileView(path) as view:
        if view.end >= 1 << 31:
            raise view.corrupt(f"it has {view.end} bytes; a protobuf message has less than 2 GiB")
        graphs = 0
        for number, _wire, start, end in _fields(view, 0, view.end):
            if number not in _MODEL_FIELDS:
                raise UnsafeFile(f"{path.name}: the field {number} at byte {start} belongs to no ONNX model.", param="path")
            if number == 7:
                graphs += 1
                _graph(view, start, end, graph, 0)
            elif number == 25:  # functions of the model's own, made of nodes
                _nodes_of_function(view, start, end, graph)
        if graphs != 1:
            raise view.corrupt(f"it holds {graphs} graphs instead of one")
    _check_external(path, graph)
    return graph


def _graph(view: FileView, start: int, end: int, graph: ONNXGraph, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise view.corrupt(f"graphs lie more than {_MAX_DEPTH} deep in each other")
    for number, _wire, at, stop in _fields(view, start, end):
        if number == 1:
            _node(view, at, stop, graph, depth)
        elif number == 5:
            _tensor(view, at, stop, graph)
        elif number == 12 and depth == 0:
            graph.outputs += [_text(view, *place) for n, _w, *place in _fields(view, at, stop) if n == 1][:1]


def _nodes_of_function(view: FileView, start: int, end: int, graph: ONNXGraph) -> None:
    for number, _wire, at, stop in _fields(view, start, end):
        if number == 7:
            _node(view, at, stop, graph, 1)


def _node(view: FileView, start: int, end: int, graph: ONNXGraph, depth: int) -> None:
    graph.num_nodes += 1
    if graph.num_nodes > _MAX_NODES:
        raise view.corrupt(f"it holds more than {_MAX_NODES} nodes")
    for number, _wire, at, stop in _fields(view, start, end):
        if number == 7 and (domain := _text(view, at, stop)) not in _DOMAINS:
            hint = "Use an export of the model without custom operators."
            raise UnsafeFile(
                f"{view.name} uses operators of {domain[:60]!r}, which need a library of their own.", param="path", hint=hint
            )
        if number == 5:
            for kind, _w, inner, last in _fields(view, at, stop):
                if kind in (6, 11):  # g, graphs
                    _graph(view, inner, last, graph, depth + 1)
                elif kind in (5, 10):  # t, tensors
                    _tensor(view, inner, last, graph)


def _tensor(view: FileView, start: int, end: int, graph: ONNXGraph) -> None:
    dims: list[int] = []
    kind, raw_bytes = 0, -1
    where: dict[str, str] = {}
    for number, wire, at, stop in _fields(view, start, end):
        if number == 1:
            dims += _packed(view, at, stop) if wire == 2 else [at]
        elif number == 2:
            kind = at
        elif number == 9:
            raw_bytes = stop - at
        elif number == 13:
            entry = {n: _text(view, *place) for n, _w, *place in _fields(view, at, stop)}
            where[entry.get(1, "")] = entry.get(2, "")
    if len(dims) > 64 or any(dim >= 1 << 48 for dim in dims):
        raise view.corrupt(f"a tensor has the shape {dims[:10]}")
    bits, name = _TYPES.get(kind, (0, f"type{kind}"))
    size = -(-prod(dims) * bits // 8)
    if bits and raw_bytes >= 0 and raw_bytes != size:
        raise view.corrupt(f"a tensor ({name} {dims}) claims {raw_bytes} bytes")
    graph.weights[name] = graph.weights.get(name, 0) + prod(dims)
    if "location" in where:
        _external(view, where, size, graph)


def _external(view: FileView, where: dict[str, str], size: int, graph: ONNXGraph) -> None:
    place = PurePosixPath(where["location"])
    if place.is_absolute() or ".." in place.parts or "\\" in where["location"] or not place.name:
        raise UnsafeFile(f"{view.name} points to {where['location'][:100]!r}, outside its folder.", param="path")
    offset, length = where.get("offset", "0"), where.get("length", str(size))
    if not all(text.isascii() and text.isdigit() and len(text) <= 15 for text in (offset, length)):
        raise view.corrupt(f"an external tensor is described as {str(where)[:120]}")
    if int(length) != size:
        raise view.corrupt(f"an external tensor of {size} bytes claims {length}")
    graph.external[str(place)] = max(graph.external.get(str(place), 0), int(offset) + size)


def _check_external(path: Path, graph: ONNXGraph) -> None:
    for name, used in graph.external.items():
        place = path.parent / name
        held = place.stat().st_size if place.is_file() else 0
        if held < used:
            raise CorruptFile(f"{path.name} uses {used} bytes of {name}, which has {held}.", hint="The download is incomplete.")
        if held - used > 1 << 16:  # writers align to pages of up to 64 KiB
            raise UnsafeFile(f"{name}: {held - used} bytes lie behind the last tensor.", param="path", hint="Do not use this file.")


def _fields(view: FileView, start: int, end: int) -> Iterator[Field]:
    """The fields of the message from start to end. Length-delimited ones give their place, the others their value."""
    at = start
    while at < end:
        view.offset = at
        tag = _varint(view)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value = _varint(view)
            at = view.offset
            yield number, wire, value, at
        elif wire in (1, 5):
            view.skip(8 if wire == 1 else 4)
            at = view.offset
            yield number, wire, at, at
        elif wire == 2:
            length = _varint(view)
            inner = view.offset
            if length > end - inner:
                raise view.corrupt(f"a field claims {length} bytes where {end - inner} are left")
            at = inner + length
            yield number, wire, inner, at
        else:
            raise view.corrupt(f"the wire type {wire} is not used in protobuf")
        if number == 0 or at > end:
            raise view.corrupt("a field runs over the end of its message or has the number 0")


def _varint(view: FileView) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = view.read(1)[0]
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1
    raise view.corrupt("a number takes more than ten bytes")


def _packed(view: FileView, start: int, end: int) -> list[int]:
    view.offset = start
    values: list[int] = []
    while view.offset < end and len(values) <= 64:
        values.append(_varint(view))
    return values


def _text(view: FileView, start: int, end: int) -> str:
    view.offset = start
    return view.read(end - start).decode("utf-8", "backslashreplace")


@formats.register("onnx")
class ONNXFormat(FileFormat):
    name = "onnx"
    precedence = 60
    nested = True

    def sniff(self, head: bytes, path: Path) -> bool:
        """ir_version (field 1, a small number) and then the producer's name, a version, the opsets or the graph."""
        return len(head) > 8 and head[0] == 8 and 1 <= head[1] <= 40 and head[2] in (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42)

    def choose(self, candidates: Sequence[Path]) -> Path:
        """model.onnx among its quantised copies, as optimum names them."""
        return next((path for path in candidates if path.name == "model.onnx"), None) or super().choose(candidates)

    def inspect(self, main: Path, folder: Path) -> Inspection:
        check(main)
        graph = read_onnx(main)
        facts = read_config(folder)
        external = [main.parent / name for name in sorted(graph.external)]
        for path in external:
            check(path)
        return facts.inspection(
            "onnx",
            folder,
            relative(folder, main, *external, *companions(folder, beside=main.parent)),
            parameters=sum(graph.weights.values()),
            quantization=max(graph.weights, key=lambda kind: graph.weights[kind], default=""),
            memory_bytes=sum(path.stat().st_size for path in (main, *external)),
            more={"outputs": ",".join(graph.outputs)[:200]},
        )
