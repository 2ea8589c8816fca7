"""PEFT adapters: `adapter_config.json` beside `adapter_model.safetensors`. A small addition to a base model, not one itself."""

from __future__ import annotations

import re
from pathlib import Path

from llmos.errors import CorruptFile, ModelFileError, UnsafeFile
from llmos.library.formats.base import FileFormat, Inspection, formats
from llmos.library.formats.companions import companions, relative
from llmos.library.formats.config import read_object, tasks_of, whole
from llmos.library.formats.content import check
from llmos.library.formats.safetensors import read_safetensors
from llmos.types import Family

_FAMILIES = {
    "CAUSAL_LM": Family.CAUSAL,
    "SEQ_2_SEQ_LM": Family.SEQ2SEQ,
    "SEQ_CLS": Family.CLASSIFIER,
    "TOKEN_CLS": Family.TAGGER,
    "FEATURE_EXTRACTION": Family.ENCODER,
}


@formats.register("peft")
class PeftFormat(FileFormat):
    name = "peft"
    precedence = 10  # adapter_model.safetensors alone would look like a model

    def sniff(self, head: bytes, path: Path) -> bool:
        return path.suffix == ".json" and b'"peft_type"' in head

    def inspect(self, main: Path, folder: Path) -> Inspection:
        config = read_object(main)
        kind, base, task = config.get("peft_type"), config.get("base_model_name_or_path"), config.get("task_type")
        if not isinstance(kind, str) or not isinstance(base, str) or not base:
            raise CorruptFile(f"{main.name}: peft_type and base_model_name_or_path must name the method and the base model.")
        if kind != "LORA":
            raise ModelFileError(f"{main.name}: adapters of the type {kind[:40]} cannot be used.", hint="LLMOS runs LoRA adapters.")
        self._check_classes(config)
        weights = folder / "adapter_model.safetensors"
        if not weights.is_file():
            hint = "Only adapter_model.safetensors is read; adapter_model.bin is a pickle."
            raise CorruptFile(f"{folder.name}: adapter_model.safetensors is missing.", hint=hint)
        check(weights)
        header = read_safetensors(weights)
        family = _FAMILIES.get(task or "CAUSAL_LM")
        if family is None:
            raise ModelFileError(
                f"{main.name}: the task type {str(task)[:40]!r} is unknown.", hint=f"Known: {', '.join(_FAMILIES)}."
            )
        rank = whole(config, "r")
        return Inspection(
            format="peft",
            family=family,
            architecture="lora",
            folder=str(folder),
            files=relative(folder, main, weights, *companions(folder)),
            parameters=header.num_weights,
            quantization=header.dtype(),
            memory_bytes=weights.stat().st_size,
            tasks=tasks_of(family, "lora", chat=False),
            base_model=base,
            extra={
                "peft_type": kind,
                "rank": str(rank),
                "alpha": str(config.get("lora_alpha", rank)),
                "base_revision": str(config.get("revision") or ""),
            },
        )

    @staticmethod
    def _check_classes(config: dict[str, object]) -> None:
        """`auto_mapping` names the module that PEFT would import; only those of transformers are the base model's own."""
        mapping = config.get("auto_mapping") or {}
        library = mapping.get("parent_library", "transformers") if isinstance(mapping, dict) else mapping
        if not isinstance(library, str) or not re.fullmatch(r"transformers(\.\w+)*", library):
            raise UnsafeFile(f"adapter_config.json asks for code of its own ({str(library)[:100]}).", param="path")
