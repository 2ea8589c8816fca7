"""GGUF: one file (or numbered parts) with weights, vocabulary and chat template, the format of llama.cpp.

The header is read by infra/gguf.py; here it becomes what a card needs to know.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmos.errors import CorruptFile, ModelFileError, UnsafeFile
from llmos.infra.gguf import MAGIC, GGUFHeader, read_gguf
from llmos.library.formats.base import FileFormat, Inspection, formats
from llmos.library.formats.companions import relative
from llmos.library.formats.config import tasks_of
from llmos.library.formats.content import check
from llmos.types import Family

_ENCODERS = frozenset({
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "neo-bert", "eurobert",
    "t5encoder",
})  # fmt: skip
_NOT_MODELS = {"clip": "a vision projector", "wavtokenizer-dec": "an audio codec", "whisper": "a speech model in an unknown layout"}
_RANK_POOLING = 4  # LLAMA_POOLING_TYPE_RANK: one score for a pair of texts
# general.file_type -> name (llama_ftype of llama.cpp); test_gguf.py compares it with the gguf package.
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1",
    10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L",
    14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M",
    32: "BF16",    36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0",
}  # fmt: skip
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.gguf)?")


@formats.register("gguf")
class GGUFFormat(FileFormat):
    name = "gguf"
    precedence = 30

    def sniff(self, head: bytes, path: Path) -> bool:
        return head.startswith(MAGIC)

    def choose(self, candidates: Sequence[Path]) -> Path:
        """Numbered parts are one model: the first stands for it."""
        first = [path for path in candidates if not (part := _PART.fullmatch(path.name)) or int(part[2]) == 1]
        return super().choose(first or candidates)

    def inspect(self, main: Path, folder: Path) -> Inspection:
        parts = _parts(main)
        headers = [_read(path) for path in parts]
        header = headers[0]
        facts = _Facts(main.name, header.metadata)
        architecture = facts.text("general.architecture")
        _check_is_model(main.name, architecture, facts.text("general.type"), sum(len(h.tensors) for h in headers))
        if facts.number("split.count", default=1) != len(parts):
            raise CorruptFile(f"{main.name}: it is one of {facts.number('split.count')} parts, of which {len(parts)} are named so.")
        pooling = facts.number(f"{architecture}.pooling_type")
        family = _family(architecture, pooling)
        template = facts.text("tokenizer.chat_template")
        licence = [path for path in (folder / "LICENSE", folder / "LICENSE.txt") if path.is_file() and check(path)]
        return Inspection(
            format="gguf",
            family=family,
            architecture=architecture,
            folder=str(folder),
            files=relative(folder, *parts, *licence),
            parameters=sum(tensor.num_weights for header in headers for tensor in header.tensors),
            context_length=facts.number(f"{architecture}.context_length"),
            quantization=FILE_TYPES.get(facts.number("general.file_type", default=-1)) or _largest_type(headers),
            chat_template_sha256=hashlib.sha256(template.encode()).hexdigest() if template else None,
            embedding_dim=facts.number(f"{architecture}.embedding_length") if family is Family.ENCODER else 0,
            labels=("LABEL_0",) if family is Family.CLASSIFIER else (),
            kv_bytes_per_token=_kv_bytes(facts, architecture) if family in (Family.CAUSAL, Family.SEQ2SEQ) else 0,
            memory_bytes=sum(path.stat().st_size for path in parts),
            tasks=tasks_of(family, architecture, chat=bool(template), num_labels=1 if family is Family.CLASSIFIER else 0),
            licence=facts.text("general.license"),
            languages=tuple(str(code) for code in facts.values("general.languages") if re.fullmatch(r"[a-z]{2}", str(code))),
            extra=facts.described(),
        )


class _Facts:
    """Typed access to the metadata. A key of another type than it must have is a corrupt file."""

    def __init__(self, name: str, metadata: dict[str, Any]) -> None:
        self.name, self.metadata = name, metadata

    def text(self, key: str) -> str:
        value = self.metadata.get(key, "")
        if not isinstance(value, str) or len(value) > 1 << 20:
            raise self._wrong(key, "a text of at most 1 MiB")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self._wrong(key, "UTF-8") from None
        return value

    def number(self, key: str, *, default: int = 0) -> int:
        value = self.metadata.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or (key in self.metadata and not 0 <= value < 1 << 40):
            raise self._wrong(key, "a number of 0 or more")
        return value

    def values(self, key: str) -> list[Any]:
        """A number or a list, as a list."""
        value = self.metadata.get(key, [])
        return value if isinstance(value, list) else [value]

    def numbers(self, key: str) -> list[int]:
        values = self.values(key)
        if not all(isinstance(value, int) and 0 <= value < 1 << 24 for value in values):
            raise self._wrong(key, "one number of 0 or more, or one a layer,")
        return values

    def described(self) -> dict[str, str]:
        named = {
            "general.name": "title",
            "general.finetune": "finetune",
            "general.size_label": "size_label",
            "tokenizer.ggml.pre": "pre",
        }
        return {short: self.text(key)[:200] for key, short in named.items() if self.metadata.get(key)}

    def _wrong(self, key: str, wanted: str) -> CorruptFile:
        return CorruptFile(f"{self.name}: {key} is {str(self.metadata[key])[:60]!r}; {wanted} is expected.")


def _parts(main: Path) -> list[Path]:
    """The file itself, or all its numbered parts in order. Raises CorruptFile when one is missing."""
    part = _PART.fullmatch(main.name)
    if not part:
        return [main]
    count = int(part[3])
    names = [f"{part[1]}-{i:05d}-of-{part[3]}{part[4] or ''}" for i in range(1, min(count, 1000) + 1)]
    missing = [name for name in names if not (main.parent / name).is_file()]
    if missing or count > 1000:
        hint = "The download is incomplete; get the missing files."
        raise CorruptFile(f"{main.name}: {len(missing)} of {count} parts are missing: {', '.join(missing[:5])}.", hint=hint)
    return [main.parent / name for name in names]


def _read(path: Path) -> GGUFHeader:
    """Header of a checked file. Behind the last tensor only its padding may lie."""
    if not check(path).startswith(MAGIC):
        raise CorruptFile(f"{path.name} is not a GGUF file.")
    header = read_gguf(path, skip_arrays_over=4096)
    rest = header.file_bytes - header.data_end
    padded = -(-header.data_end // header.alignment) * header.alignment
    with path.open("rb") as file:
        file.seek(header.data_end)
        clean = header.file_bytes <= padded and not any(file.read(header.alignment))
    if not clean:
        raise UnsafeFile(f"{path.name}: {rest} bytes lie behind the last tensor.", param="path", hint="Do not use this file.")
    return header


def _check_is_model(name: str, architecture: str, kind: str, num_tensors: int) -> None:
    if kind == "adapter":
        hint = "Use the adapter in PEFT layout (adapter_config.json and adapter_model.safetensors)."
        raise ModelFileError(f"{name} is a LoRA adapter in GGUF, not a model.", hint=hint)
    if architecture in _NOT_MODELS or kind in ("mmproj", "imatrix"):
        raise ModelFileError(
            f"{name} is {_NOT_MODELS.get(architecture, kind)}, not a language model.", hint="Give the language model."
        )
    if not architecture:
        raise CorruptFile(f"{name}: general.architecture is missing, so the model cannot be identified.")
    if not num_tensors:
        raise ModelFileError(f"{name} holds a vocabulary but no weights.", hint="Give the file with the weights.")


def _family(architecture: str, pooling: int) -> Family:
    """A pooling type makes an encoder of any architecture; rank pooling makes a reranker."""
    if pooling == _RANK_POOLING:
        return Family.CLASSIFIER
    if architecture in _ENCODERS or pooling:
        return Family.ENCODER
    return Family.SEQ2SEQ if architecture == "t5" else Family.CAUSAL


def _largest_type(headers: list[GGUFHeader]) -> str:
    sizes: dict[str, int] = {}
    for tensor in (tensor for header in headers for tensor in header.tensors):
        sizes[tensor.type] = sizes.get(tensor.type, 0) + tensor.size_bytes
    return max(sizes, key=lambda kind: sizes[kind])


def _kv_bytes(facts: _Facts, architecture: str) -> int:
    """(key size + value size) x key-value heads x 2 bytes, summed over layers; heads may differ from layer to layer."""
    layers = facts.number(f"{architecture}.block_count")
    heads = max(facts.numbers(f"{architecture}.attention.head_count") or [1])
    told = facts.numbers(f"{architecture}.attention.head_count_kv") or [heads]
    size = facts.number(f"{architecture}.embedding_length") // max(heads, 1)
    key = facts.number(f"{architecture}.attention.key_length", default=size)
    value = facts.number(f"{architecture}.attention.value_length", default=size)
    return (sum(told) if len(told) > 1 else told[0] * layers) * (key + value) * 2
