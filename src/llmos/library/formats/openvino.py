"""OpenVINO IR: the graph in `NAME.xml`, its constants in `NAME.bin`, with the tokenizer as another such pair.

Every constant's place and size is checked against the .bin file. The XML is read as a stream by expat; a document type,
where entities could grow without end, is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from xml.parsers import expat

from llmos.errors import CorruptFile, ModelFileError, UnsafeFile
from llmos.library.formats.base import FileFormat, Inspection, formats
from llmos.library.formats.companions import companions, relative
from llmos.library.formats.config import read_config
from llmos.library.formats.content import check

MAX_XML_BYTES = 128 << 20
_MAX_CONSTANTS = 1 << 18
_PIECE_BYTES = 1 << 20
_BITS = {
    "boolean": 8, "u1": 1, "u2": 2, "u3": 3, "u4": 4, "u6": 6, "u8": 8, "u16": 16, "u32": 32, "u64": 64, "i4": 4, "i8": 8,
    "i16": 16, "i32": 32, "i64": 64, "f8e4m3": 8, "f8e5m2": 8, "f8e8m0": 8,
    "f4e2m1": 4, "nf4": 4, "f16": 16, "bf16": 16, "f32": 32, "f64": 64,
}  # fmt: skip
_MAIN_NAMES = ("openvino_model", "openvino_language_model", "openvino_encoder_model", "openvino_decoder_model")


@dataclass
class OpenVINOGraph:
    """weights: number of values by element type, each place in the .bin counted once. end: last byte that a constant uses."""

    weights: dict[str, int] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    num_layers: int = 0

    @property
    def end(self) -> int:
        return max((offset + size for offset, size in self.places.items()), default=0)


def read_openvino(path: Path) -> OpenVINOGraph:
    """The graph's constants, checked against the .bin beside it. Raises CorruptFile or UnsafeFile."""
    size = path.stat().st_size
    if size > MAX_XML_BYTES:
        raise ModelFileError(f"{path.name} has {size} bytes; at most {MAX_XML_BYTES} are read.", param="path")
    graph = OpenVINOGraph()
    _Handler(path.name, graph).parse(path)
    weights = path.with_suffix(".bin")
    if not weights.is_file() and graph.end:
        raise CorruptFile(f"{path.name}: {weights.name} with its weights is missing.", hint="Download the model again.")
    held = weights.stat().st_size if weights.is_file() else 0
    if graph.end > held:
        raise CorruptFile(
            f"{weights.name} has {held} bytes where {path.name} uses {graph.end}.", hint="The download is incomplete."
        )
    if held - graph.end > 64:
        reason = f"{weights.name}: {held - graph.end} bytes lie behind the last constant."
        raise UnsafeFile(reason, param="path", hint="Do not use this file.")
    return graph


class _Handler:
    """Takes the elements of the XML as expat sees them. Loops and branches hold layers in layers, so kinds are stacked."""

    def __init__(self, name: str, graph: OpenVINOGraph) -> None:
        self.name, self.graph = name, graph
        self.stack: list[str] = []

    def parse(self, path: Path) -> None:
        parser = expat.ParserCreate()
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.leave
        parser.StartDoctypeDeclHandler = self.refuse
        try:
            with path.open("rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    parser.Parse(piece, False)
            parser.Parse(b"", True)
        except expat.ExpatError as problem:
            raise CorruptFile(f"{self.name} is not valid XML: {problem}.", hint="Download it again.") from None
        if self.graph.num_layers == 0:
            raise CorruptFile(f"{self.name} holds no layers of an OpenVINO graph.")

    def refuse(self, *_: object) -> None:
        raise UnsafeFile(f"{self.name} declares a document type, which no OpenVINO graph has.", param="path")

    def start(self, element: str, attributes: dict[str, str]) -> None:
        if not self.stack and element != "net":
            raise CorruptFile(f"{self.name} is XML, but starts with <{element[:40]}> instead of <net>.")
        if len(self.stack) > 200:
            raise CorruptFile(f"{self.name}: elements lie more than 200 deep in each other.")
        self.graph.num_layers += element == "layer"
        if element == "data" and self.stack[-1] == "Const":
            self.constant(attributes)
        self.stack.append(attributes.get("type", "") if element == "layer" else element)

    def leave(self, _element: str) -> None:
        self.stack.pop()

    def constant(self, told: dict[str, str]) -> None:
        kind, shape = told.get("element_type", ""), told.get("shape", "")
        numbers = [told.get("offset", ""), told.get("size", ""), *(part.strip() for part in shape.split(",") if part.strip())]
        if not all(number.isascii() and number.isdigit() and len(number) <= 15 for number in numbers) or len(numbers) > 18:
            raise CorruptFile(f"{self.name}: a constant is described as {str(told)[:150]}.")
        offset, size, *dims = map(int, numbers)
        if kind != "string" and (kind not in _BITS or -(-prod(dims) * _BITS[kind] // 8) != size):
            raise CorruptFile(f"{self.name}: a constant of {kind[:20]} [{shape[:60]}] claims {size} bytes.")
        if len(self.graph.places) >= _MAX_CONSTANTS:
            raise CorruptFile(f"{self.name} holds more than {_MAX_CONSTANTS} constants.")
        if size > self.graph.places.get(offset, 0):
            if offset not in self.graph.places:
                self.graph.weights[kind] = self.graph.weights.get(kind, 0) + prod(dims)
            self.graph.places[offset] = size


@formats.register("openvino")
class OpenVINOFormat(FileFormat):
    name = "openvino"
    precedence = 40
    nested = True

    def sniff(self, head: bytes, path: Path) -> bool:
        start = head[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
        return (start.startswith((b"<?xml", b"<net"))) and b"<net " in start and (b"<layers" in head or b"<layer " in head)

    def choose(self, candidates: Sequence[Path]) -> Path:
        """The language model among the graphs of one export (tokenizer, encoder, decoder, …)."""
        by_name = {path.stem: path for path in candidates}
        for name in _MAIN_NAMES:
            if name in by_name:
                return by_name[name]
        return super().choose(candidates)

    def inspect(self, main: Path, folder: Path) -> Inspection:
        paths = [main, *(path for path in sorted(main.parent.glob("openvino_*.xml")) if path != main)]
        graphs = []
        for path in paths:
            check(path)
            graphs.append(read_openvino(path))
        weights = [path.with_suffix(".bin") for path in paths if path.with_suffix(".bin").is_file()]
        for path in weights:
            check(path)
        facts = read_config(folder)
        models = [graph for path, graph in zip(paths, graphs, strict=True) if "tokenizer" not in path.stem]
        counts: dict[str, int] = {}
        for kind, count in (item for graph in models for item in graph.weights.items()):
            counts[kind] = counts.get(kind, 0) + count
        return facts.inspection(
            "openvino",
            folder,
            relative(folder, *paths, *weights, *companions(folder, beside=main.parent)),
            parameters=sum(counts.values()),
            quantization=max(counts, key=lambda kind: counts[kind], default=""),
            memory_bytes=sum(path.stat().st_size for path in weights),
        )
