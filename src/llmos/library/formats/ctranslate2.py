"""CTranslate2: a folder with `model.bin`, made by the converters of OpenNMT. Fast seq2seq models come in it.

    version u32 | specification: text | revision u32
    variables u32 x (name: text | dims u8 | dims x u32 | type u8 | size u32 | data)
    aliases u32 x (alias: text | name: text)            text = length u16, counting the final NUL | bytes | NUL

Layout from ModelSpec._serialize of the ctranslate2 package, binary version 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from llmos.errors import ModelFileError, UnsafeFile
from llmos.library.formats.base import FileFormat, Inspection, formats
from llmos.library.formats.companions import companions, relative
from llmos.library.formats.config import read_object, tasks_of, whole
from llmos.library.formats.content import check
from llmos.library.formats.view import FileView
from llmos.types import Family

_VERSIONS = range(2, 7)
_TYPES = ("f32", 4), ("int8", 1), ("int16", 2), ("int32", 4), ("f16", 2), ("bf16", 2)
_FAMILIES = {
    "TransformerSpec": Family.SEQ2SEQ,
    "TransformerDecoderModelSpec": Family.CAUSAL,
    "TransformerEncoderModelSpec": Family.ENCODER,
    "WhisperSpec": Family.SPEECH,
    "Wav2Vec2Spec": Family.SPEECH,
    "Wav2Vec2BertSpec": Family.SPEECH,
}
_MAX_VARIABLES = 1 << 17


@dataclass(frozen=True, slots=True)
class CTranslate2Header:
    """spec: the model class. weights: number of values by type. shapes: of every variable."""

    spec: str
    weights: dict[str, int]
    shapes: dict[str, tuple[int, ...]]


def read_ctranslate2(path: Path) -> CTranslate2Header:
    """Walks the whole file, stepping over the data. Raises CorruptFile, or UnsafeFile for data behind the end."""
    with FileView(path) as view:
        (version,) = view.unpack("<I")
        if version not in _VERSIONS:
            raise view.corrupt(f"the binary version {version} is unknown")
        spec = _text(view)
        _revision, num_variables = view.unpack("<II")
        if num_variables > _MAX_VARIABLES:
            raise view.corrupt(f"it claims {num_variables} variables, more than {_MAX_VARIABLES}")
        weights: dict[str, int] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        for _ in range(num_variables):
            name, kind, shape = _variable(view)
            if name in shapes:
                raise view.corrupt(f"the variable {name!r} occurs twice")
            shapes[name] = shape
            weights[kind] = weights.get(kind, 0) + prod(shape)
        if version >= 3:
            _aliases(view, shapes)
        if view.offset != view.end:
            rest = view.end - view.offset
            raise UnsafeFile(f"{path.name}: {rest} bytes lie behind the last variable.", param="path", hint="Do not use this file.")
    return CTranslate2Header(spec, weights, shapes)


def _variable(view: FileView) -> tuple[str, str, tuple[int, ...]]:
    name = _text(view)
    (num_dims,) = view.unpack("<B")
    shape = view.unpack(f"<{num_dims}I")
    kind, size = view.unpack("<BI")
    if kind >= len(_TYPES):
        raise view.corrupt(f"the variable {name!r} has the unknown type {kind}")
    type_name, width = _TYPES[kind]
    if prod(shape) * width != size:
        raise view.corrupt(f"the variable {name!r} ({type_name} {list(shape)}) claims {size} bytes")
    view.skip(size)
    return name, type_name, shape


def _aliases(view: FileView, shapes: dict[str, tuple[int, ...]]) -> None:
    (count,) = view.unpack("<I")
    if count > _MAX_VARIABLES:
        raise view.corrupt(f"it claims {count} aliases, more than {_MAX_VARIABLES}")
    for _ in range(count):
        alias, name = _text(view), _text(view)
        if name not in shapes:
            raise view.corrupt(f"the alias {alias!r} stands for {name!r}, which is not there")


def _text(view: FileView) -> str:
    (length,) = view.unpack("<H")
    raw = view.read(length)
    if not raw.endswith(b"\x00") or b"\x00" in raw[:-1]:
        raise view.corrupt(f"a name is {raw[:40]!r}, which does not end with the only NUL")
    return raw[:-1].decode("utf-8", "backslashreplace")


@formats.register("ctranslate2")
class CTranslate2Format(FileFormat):
    name = "ctranslate2"
    precedence = 50

    def sniff(self, head: bytes, path: Path) -> bool:
        """A version, then the text of a specification."""
        length = int.from_bytes(head[4:6], "little")
        name = head[6 : 6 + length]
        return int.from_bytes(head[:4], "little") in _VERSIONS and 2 <= length <= 100 and name.endswith(b"Spec\x00")

    def inspect(self, main: Path, folder: Path) -> Inspection:
        check(main)
        header = read_ctranslate2(main)
        family = _FAMILIES.get(header.spec)
        if family is None:
            raise ModelFileError(f"{main.name} is a {header.spec}, which is of no family that LLMOS runs.")
        config = read_object(folder / "config.json")
        architecture = str(config.get("model_type") or header.spec.removesuffix("Spec").removesuffix("Model"))
        positions = [
            shape[0] for name, shape in header.shapes.items() if "position_encodings/encodings" in name and len(shape) == 2
        ]
        return Inspection(
            format="ctranslate2",
            family=family,
            architecture=architecture,
            folder=str(folder),
            files=relative(folder, main, *companions(folder)),
            parameters=sum(header.weights.values()),
            context_length=whole(config, "max_position_embeddings", "n_positions", default=min(positions, default=0)),
            quantization=max(header.weights, key=lambda kind: header.weights[kind], default=""),
            memory_bytes=main.stat().st_size,
            tasks=tasks_of(family, architecture, chat=False),
            extra={"spec": header.spec},
        )
